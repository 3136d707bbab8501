//! Key-value buckets, in the same database as the jobs and kept as safely.

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::StoreError;
use jobcell_core::keyvalue::{Bucket, Fingerprint, KeyValue, KeyValueError, Keys};
use redb::ReadableTable;

use crate::error::Result;
use crate::store::EmbeddedStore;
use crate::tx::Tx;

/// The buckets of an [`EmbeddedStore`].
#[derive(Clone)]
pub struct EmbeddedKeyValue {
    store: EmbeddedStore,
}

impl EmbeddedKeyValue {
    pub(crate) fn new(store: EmbeddedStore) -> Self {
        Self { store }
    }

    /// Runs a verb on a value; `verb` is given the bucket, the key and the value, as far as there is one.
    async fn write<R: Send + 'static>(
        &self,
        bucket: &Bucket,
        key: &str,
        verb: impl Fn(&mut Tx<'_>, &str, &str) -> Result<R> + Send + 'static,
    ) -> Result<R, KeyValueError> {
        let (bucket, key) = (bucket.as_str().to_owned(), key.to_owned());
        self.store.write(move |tx| verb(tx, &bucket, &key)).await.map_err(kv_error)
    }
}

fn kv_error(error: StoreError) -> KeyValueError {
    match error {
        StoreError::Unavailable(cause) => KeyValueError::Unavailable(cause),
        other => KeyValueError::Other(other.to_string()),
    }
}

#[async_trait]
impl KeyValue for EmbeddedKeyValue {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Bytes>, KeyValueError> {
        let (bucket, key) = (bucket.clone(), key.to_owned());
        self.store.read(move |view| view.value(bucket.as_str(), &key)).await.map_err(kv_error)
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, KeyValueError> {
        let (bucket, key) = (bucket.clone(), key.to_owned());
        self.store.read(move |view| view.has_value(bucket.as_str(), &key)).await.map_err(kv_error)
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Bytes) -> Result<(), KeyValueError> {
        self.write(bucket, key, move |tx, bucket, key| tx.set_value(bucket, key, &value)).await
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), KeyValueError> {
        self.write(bucket, key, |tx, bucket, key| tx.drop_value(bucket, key)).await
    }

    async fn keys(&self, bucket: &Bucket, from: u64, limit: u32) -> Result<Keys, KeyValueError> {
        let bucket = bucket.clone();
        self.store.read(move |view| view.keys(bucket.as_str(), from, limit)).await.map_err(kv_error)
    }

    async fn increment(&self, bucket: &Bucket, key: &str, by: i64) -> Result<i64, KeyValueError> {
        let sum = self.write(bucket, key, move |tx, bucket, key| {
            let old = tx.value(bucket, key)?.map_or(Some(0), |old| whole_number(&old));
            let Some(sum) = old.and_then(|old| old.checked_add(by)) else { return Ok(None) };
            tx.set_value(bucket, key, sum.to_string().as_bytes())?;
            Ok(Some(sum))
        });
        sum.await?.ok_or_else(|| KeyValueError::NotANumber(key.to_owned()))
    }

    async fn swap(
        &self,
        bucket: &Bucket,
        key: &str,
        seen: Option<Fingerprint>,
        value: Bytes,
    ) -> Result<bool, KeyValueError> {
        self.write(bucket, key, move |tx, bucket, key| {
            let held = tx.value(bucket, key)?.map(|held| Fingerprint::of(&held));
            if held == seen {
                tx.set_value(bucket, key, &value)?;
            }
            Ok(held == seen)
        })
        .await
    }
}

/// The number that a text is, when it is written the one way in which this and Redis write it.
pub(crate) fn whole_number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Tx<'_> {
    fn value(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.tables().values.get((bucket, key))?.map(|row| row.value().1.to_vec()))
    }

    fn set_value(&mut self, bucket: &str, key: &str, value: &[u8]) -> Result<()> {
        let held = self.tables().values.get((bucket, key))?.map(|row| row.value().0);
        let place = match held {
            Some(place) => place,
            None => {
                let mut all = self.tables().value_keys.range((bucket, 0)..=(bucket, u64::MAX))?;
                let place = all.next_back().transpose()?.map_or(0, |(place, _)| place.value().1) + 1;
                self.change().value_keys.insert((bucket, place), key)?;
                place
            }
        };
        self.change().values.insert((bucket, key), (place, value))?;
        Ok(())
    }

    fn drop_value(&mut self, bucket: &str, key: &str) -> Result<()> {
        let held = self.tables().values.get((bucket, key))?.map(|row| row.value().0);
        let Some(place) = held else { return Ok(()) };
        let tables = self.change();
        tables.values.remove((bucket, key))?;
        tables.value_keys.remove((bucket, place))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_one_way() {
        assert_eq!(whole_number(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["", "+5", "05", "-0", " 5", "5 ", "5.0", "9223372036854775808", "five"] {
            assert_eq!(whole_number(text.as_bytes()), None, "{text:?}");
        }
    }
}
