//! Machine code that this host may run, and the one place where it becomes a component. Whoever has a [`Code`] has the
//! proof of where it comes from: there are only two ways to one.

use std::path::PathBuf;

use wasmtime::component::Component;

/// Machine code that a compiler of ours made.
pub(crate) struct Code(Source);

enum Source {
    /// As the compiler returned it.
    Compiled(Vec<u8>),
    /// A file that holds it.
    Kept(PathBuf),
}

// === impl Code ===

impl Code {
    /// What `Engine::precompile_component` has returned, here or in a compiler process that this host started and whose
    /// output nobody else could write to.
    pub(crate) fn compiled(code: Vec<u8>) -> Self {
        Self(Source::Compiled(code))
    }

    /// A file of the compile cache that has just been found to hold what [`Code::compiled`] once took.
    pub(crate) fn kept(path: PathBuf) -> Self {
        Self(Source::Kept(path))
    }

    /// The bytes, when they are in memory.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Source::Compiled(code) => Some(code),
            Source::Kept(_) => None,
        }
    }

    /// Makes it a component of this engine; code that another kind of engine made is refused.
    #[expect(unsafe_code, reason = "machine code has to be loaded somewhere; see the proof inside")]
    pub(crate) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: it must be the unchanged output of `Engine::precompile_component`, and a file must not change while it
        // is mapped.
        // - `compiled` is only given that, straight from the compiler or from the pipe of a compiler process: a child
        //   of this one, of the same program, started for this artifact.
        // - `kept` is only given a file over whose bytes and name the cache has just found a keyed hash. It makes such
        //   hashes only over what `compiled` took, and the key can be read by this user alone.
        // - Only this user can write into the cache's folder, and this crate never writes into a file that has such a
        //   name: a finished file is renamed over it, which leaves a mapped one as it is.
        // - What is mapped of a file beyond the code, the hash itself, is no part of the object that the engine reads.
        unsafe {
            match &self.0 {
                Source::Compiled(code) => Component::deserialize(engine, code),
                Source::Kept(path) => Component::deserialize_file(engine, path),
            }
        }
    }
}
