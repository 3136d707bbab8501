//! Two handlers of a plugin cannot take the same jobs.

mod one {
    use jobcell_sdk::prelude::*;

    #[handler]
    fn make_thumbnail(_job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }

    #[handler(name = "make-thumbnail")]
    fn other(_job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }

    plugin!(make_thumbnail, other);
}

mod two {
    use jobcell_sdk::prelude::*;

    #[handler(any)]
    fn first(_job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }

    #[handler(any)]
    fn second(_job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }

    plugin!(first, second);
}

mod three {
    use jobcell_sdk::prelude::*;

    #[handler]
    fn resize(_job: Job<Raw>) -> Result<(), Failure> {
        Ok(())
    }

    plugin!(resize, resize);
}

fn main() {}
