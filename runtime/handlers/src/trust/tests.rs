use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn digest() -> Digest {
    Digest::of(b"component")
}

#[test]
fn a_signature_by_a_trusted_key_holds_over_this_version_alone() {
    let trust = Trust::new(true, vec![key(1).public(), key(2).public()]);
    let signature = key(2).sign(&digest(), b"manifest");
    let verify = |digest: &Digest, manifest: &[u8]| trust.verify("media", digest, manifest, Some(&signature));
    assert_eq!(verify(&digest(), b"manifest"), Ok(Some(key(2).public().id())));
    for (digest, manifest) in
        [(Digest::of(b"other"), &b"manifest"[..]), (digest(), b"Manifest"), (digest(), b"")]
    {
        let error = verify(&digest, manifest).unwrap_err();
        assert!(matches!(error, TrustError::BadSignature { .. }), "{error}");
        assert!(error.to_string().contains("sign this one"), "{error}");
    }
}

#[test]
fn every_changed_bit_of_a_signature_is_seen() {
    let trust = Trust::new(false, vec![key(1).public()]);
    let Signature { by, signature } = key(1).sign(&digest(), b"");
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = Signature { by, signature: changed };
        assert!(trust.verify("media", &digest(), b"", Some(&changed)).is_err(), "bit {bit}");
    }
}

#[test]
fn without_a_signature_it_depends_on_the_configuration() {
    let (strict, lenient) = (Trust::new(true, vec![key(1).public()]), Trust::new(false, vec![]));
    assert_eq!(lenient.verify("media", &digest(), b"", None), Ok(None));
    let error = strict.verify("media", &digest(), b"", None).unwrap_err();
    assert!(matches!(error, TrustError::Unsigned { .. }));
    let text = error.to_string();
    let id = key(1).public().id().to_string();
    assert!(
        text.contains("\"media\"") && text.contains("jobcell handler sign") && text.contains(&id),
        "{text}"
    );
    let nobody = Trust::new(true, vec![]).verify("media", &digest(), b"", None).unwrap_err().to_string();
    assert!(nobody.contains("no key is configured"), "{nobody}");
}

#[test]
fn an_unknown_key_is_named_with_those_that_are_known() {
    let signature = key(9).sign(&digest(), b"");
    for required in [true, false] {
        let trust = Trust::new(required, vec![key(1).public()]);
        let error = trust.verify("media", &digest(), b"", Some(&signature)).unwrap_err();
        assert!(matches!(error, TrustError::UnknownKey { .. }), "{error}");
        for id in [key(9).public().id(), key(1).public().id()] {
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
    }
    assert_eq!(Trust::default().verify("media", &digest(), b"", Some(&signature)), Ok(None));
}

#[test]
fn a_signature_that_claims_another_key_does_not_hold() {
    let trust = Trust::new(true, vec![key(1).public()]);
    let Signature { signature, .. } = key(9).sign(&digest(), b"");
    let claimed = Signature { by: key(1).public().id(), signature };
    let error = trust.verify("media", &digest(), b"", Some(&claimed)).unwrap_err();
    assert!(matches!(error, TrustError::BadSignature { .. }));
}

#[test]
fn texts_read_back() {
    let secret = key(3);
    assert_eq!(secret.expose().parse::<SecretKey>().unwrap().public(), secret.public());
    assert_eq!(format!(" {}\n", secret.public()).parse(), Ok(secret.public()));
    let signature = secret.sign(&digest(), b"x");
    assert_eq!(format!("{signature}\n").parse(), Ok(signature));
    let json = serde_json::to_string(&signature).unwrap();
    assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);
}

#[test]
fn what_is_signed_does_not_change_between_releases() {
    // Signatures are kept for years; whoever changes what is signed must keep reading the old ones.
    let text = key(7).sign(&Digest::of(b"component"), b"manifest").to_string();
    let trust = Trust::new(true, vec![key(7).public()]);
    assert!(text.starts_with(&format!("ed25519:{}:", key(7).public().id())), "{text}");
    let kept = include_str!("kept.sig");
    assert_eq!(kept.trim(), text);
    let kept = kept.parse().unwrap();
    assert!(trust.verify("media", &digest(), b"manifest", Some(&kept)).is_ok());
}

#[test]
fn a_secret_is_never_shown() {
    let secret = key(4);
    let base64 = secret.expose().split_off(SECRET_SCHEME.len());
    assert!(!format!("{secret:?}").contains(&base64));
    let error = secret.expose().parse::<PublicKey>().unwrap_err();
    assert_eq!(error, KeyError::SecretForPublic);
    assert!(!error.to_string().contains(&base64));
}

#[test]
fn what_is_no_key_and_no_signature_is_refused() {
    let public = key(1).public().to_string();
    // The neutral element: a key of small order.
    let weak = format!("ed25519:{}", STANDARD.encode([&[1][..], &[0; 31]].concat()));
    for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", &public[..public.len() - 1], &weak] {
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Public), "{text:?}");
    }
    let long = format!("ed25519:0011223344556677:{}", "A".repeat(1 << 20));
    for text in ["", "ed25519:", "ed25519:0011223344556677:", "ed25519:xx:AAAA", &public, &long] {
        assert_eq!(text.parse::<Signature>(), Err(KeyError::Signature));
    }
}
