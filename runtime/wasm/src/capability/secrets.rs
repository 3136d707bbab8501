//! `jobcell:job/secrets`: uses secrets without showing them, for handlers granted `secrets = ["NAME"]`.

use hmac::Hmac;
use jobcell_core::HostCall;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::cell::Cell;
use crate::secret::{Secret, keyed};
use crate::world::jobcell::job::secrets::{Algorithm, Host};
use crate::world::jobcell::job::types::Error;

impl Host for Cell {
    fn hmac(&mut self, secret: String, algorithm: Algorithm, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        let key = self.secret(&secret)?;
        Ok(mac(algorithm, key, &message))
    }

    fn verify_hmac(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        message: Vec<u8>,
        claimed: Vec<u8>,
    ) -> Result<bool, Error> {
        let key = self.secret(&secret)?;
        // Lengths are public: they are the algorithm's. The bytes are compared in constant time.
        Ok(mac(algorithm, key, &message).ct_eq(&claimed).into())
    }

    fn placeholder(&mut self, secret: String) -> Result<String, Error> {
        self.secret(&secret)?;
        Ok(self.template.placeholder(&secret))
    }

    fn reveal(&mut self, secret: String) -> Result<String, Error> {
        self.secret(&secret)?;
        if !self.template.grants().secret(&secret).is_some_and(|grant| grant.reveal) {
            let grant = format!("secrets = [{{ name = \"{secret}\", reveal = true }}]");
            return Err(self.denied("secrets", &format!("seeing secret {secret:?}"), &grant));
        }
        Ok(self.secret(&secret)?.expose().to_owned())
    }
}

impl Cell {
    fn secret(&mut self, name: &str) -> Result<&Secret, Error> {
        self.called(HostCall::Secrets);
        if self.template.grants().secret(name).is_none() {
            return Err(self.denied(
                "secrets",
                &format!("secret {name:?}"),
                &format!("secrets = [\"{name}\"]"),
            ));
        }
        self.template.services().secrets.get(name).ok_or(Error::NotFound)
    }
}

fn mac(algorithm: Algorithm, key: &Secret, message: &[u8]) -> Vec<u8> {
    let key = key.expose().as_bytes();
    match algorithm {
        Algorithm::Sha1 => keyed::<Hmac<Sha1>>(key, message),
        Algorithm::Sha256 => keyed::<Hmac<Sha256>>(key, message),
        Algorithm::Sha512 => keyed::<Hmac<Sha512>>(key, message),
    }
}
