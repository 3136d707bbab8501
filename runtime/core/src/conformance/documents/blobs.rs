//! What is named by its content.

use bytes::Bytes;

use super::*;
use crate::conformance::keyvalue::HOSTILE_KEYS;
use crate::documents::BLOB_BYTES_MAX;

pub async fn blobs_are_kept_until_they_are_forgotten(all: All) {
    let every: Vec<u8> = (0..=255).collect();
    let contents = [Bytes::new(), text("x"), Bytes::from(every.repeat(5000))];
    for (n, content) in contents.iter().enumerate() {
        let digest = format!("sha256:{n}");
        assert_eq!(all.blob(&digest).await.unwrap(), None);
        // Twice is as good as once.
        all.keep_blob(&digest, content.clone()).await.unwrap();
        all.keep_blob(&digest, content.clone()).await.unwrap();
    }
    for name in HOSTILE_KEYS {
        all.keep_blob(name, text(name)).await.unwrap();
    }
    for name in HOSTILE_KEYS {
        assert_eq!(all.blob(name).await.unwrap().unwrap(), name);
    }
    for (n, content) in contents.iter().enumerate() {
        let digest = format!("sha256:{n}");
        assert_eq!(all.blob(&digest).await.unwrap().as_ref(), Some(content));
        all.forget_blob(&digest).await.unwrap();
        all.forget_blob(&digest).await.unwrap();
        assert_eq!(all.blob(&digest).await.unwrap(), None);
    }
}

pub async fn the_largest_blob_comes_whole_and_a_larger_one_is_refused(all: All) {
    let content: Bytes = (0..BLOB_BYTES_MAX / 8).flat_map(|n| (n as u64).to_be_bytes()).collect();
    assert_eq!(content.len(), BLOB_BYTES_MAX);
    all.keep_blob("most", content.clone()).await.unwrap();
    let found = all.blob("most").await.unwrap().unwrap();
    assert!(found == content, "{} bytes came of {}", found.len(), content.len());
    let more = Bytes::from(vec![0; BLOB_BYTES_MAX + 1]);
    assert_rejected(all.keep_blob("more", more).await, &BLOB_BYTES_MAX.to_string());
    assert_eq!(all.blob("more").await.unwrap(), None);
    all.forget_blob("most").await.unwrap();
}
