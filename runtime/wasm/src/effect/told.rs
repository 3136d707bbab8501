//! The types that the outside answers with, as recorded answers and back.

use bytes::Bytes;
use jobcell_core::effects::{Answer, Blob, BlobInfo};
use jobcell_core::keyvalue::{Fingerprint, Keys};

use crate::world::jobcell::job::blobs::Info;

/// Something that the outside answers with.
pub(crate) trait Told: Sized {
    /// As it is recorded. Cheap: what is large is shared.
    fn write(&self) -> Answer;
    /// What was recorded; none when it is of another form.
    fn read(answer: Answer) -> Option<Self>;
}

impl Told for () {
    fn write(&self) -> Answer {
        Answer::Done
    }

    fn read(answer: Answer) -> Option<Self> {
        (answer == Answer::Done).then_some(())
    }
}

impl Told for bool {
    fn write(&self) -> Answer {
        Answer::Flag(*self)
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Flag(flag) = answer { Some(flag) } else { None }
    }
}

impl Told for i64 {
    fn write(&self) -> Answer {
        Answer::Number(*self)
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Number(number) = answer { Some(number) } else { None }
    }
}

impl Told for String {
    fn write(&self) -> Answer {
        Answer::Text(self.clone())
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Text(text) = answer { Some(text) } else { None }
    }
}

impl Told for Option<Bytes> {
    fn write(&self) -> Answer {
        Answer::Value(self.clone().map(Blob))
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Value(value) = answer { Some(value.map(|Blob(bytes)| bytes)) } else { None }
    }
}

/// A setting.
impl Told for Option<String> {
    fn write(&self) -> Answer {
        Answer::Value(self.clone().map(|text| Blob(text.into())))
    }

    fn read(answer: Answer) -> Option<Self> {
        let Answer::Value(value) = answer else { return None };
        value
            .map(|Blob(bytes)| String::from_utf8(bytes.into()).ok())
            .map_or(Some(None), |text| text.map(Some))
    }
}

impl Told for Vec<(String, String)> {
    fn write(&self) -> Answer {
        Answer::Pairs(self.clone())
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Pairs(pairs) = answer { Some(pairs) } else { None }
    }
}

impl Told for Keys {
    fn write(&self) -> Answer {
        Answer::Keys(self.keys.clone(), self.next)
    }

    fn read(answer: Answer) -> Option<Self> {
        if let Answer::Keys(keys, next) = answer { Some(Self { keys, next }) } else { None }
    }
}

/// Of a value in a bucket.
impl Told for Option<Fingerprint> {
    fn write(&self) -> Answer {
        Answer::Value(self.map(|print| Blob(print.to_hex().into())))
    }

    fn read(answer: Answer) -> Option<Self> {
        let Answer::Value(value) = answer else { return None };
        let Some(Blob(hex)) = value else { return Some(None) };
        let mut bytes = [0; 20];
        hex::decode_to_slice(&hex, &mut bytes).ok()?;
        Some(Some(Fingerprint::from_bytes(bytes)))
    }
}

/// A blob that is read: how large it is, and its content where that keeps to the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) bytes: Option<Bytes>,
}

impl Told for Content {
    fn write(&self) -> Answer {
        Answer::Content(self.size, self.bytes.clone().map(Blob))
    }

    fn read(answer: Answer) -> Option<Self> {
        let Answer::Content(size, content) = answer else { return None };
        Some(Self { size, bytes: content.map(|Blob(bytes)| bytes) })
    }
}

impl Told for Vec<Info> {
    fn write(&self) -> Answer {
        Answer::Infos(self.iter().map(info).collect())
    }

    fn read(answer: Answer) -> Option<Self> {
        let Answer::Infos(infos) = answer else { return None };
        Some(infos.into_iter().map(of_info).collect())
    }
}

impl Told for Info {
    fn write(&self) -> Answer {
        Answer::Infos(vec![info(self)])
    }

    fn read(answer: Answer) -> Option<Self> {
        let Answer::Infos(infos) = answer else { return None };
        let [info]: [BlobInfo; 1] = infos.try_into().ok()?;
        Some(of_info(info))
    }
}

fn info(info: &Info) -> BlobInfo {
    let Info { key, size, content_type, etag } = info;
    BlobInfo { key: key.clone(), size: *size, content_type: content_type.clone(), etag: etag.clone() }
}

fn of_info(info: BlobInfo) -> Info {
    let BlobInfo { key, size, content_type, etag } = info;
    Info { key, size, content_type, etag }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back<T: Told + std::fmt::Debug>(told: &T) {
        let back = T::read(told.write()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{told:?}"));
        assert!(T::read(Answer::Response(response())).is_none());
    }

    fn response() -> jobcell_core::effects::Response {
        jobcell_core::effects::Response {
            status: 200,
            headers: vec![],
            body: Blob::default(),
            trailers: vec![],
            end: jobcell_core::effects::End::Whole,
        }
    }

    #[test]
    fn every_answer_reads_back() {
        reads_back(&());
        reads_back(&true);
        reads_back(&-3_i64);
        reads_back(&"7".to_owned());
        reads_back(&None::<Bytes>);
        reads_back(&Some(Bytes::from_static(b"\xff")));
        reads_back(&None::<String>);
        reads_back(&Some("setting".to_owned()));
        reads_back(&vec![("a".to_owned(), "b".to_owned())]);
        reads_back(&Keys { keys: vec!["k".to_owned()], next: Some(1) });
        reads_back(&Some(Fingerprint::of(b"v")));
        reads_back(&None::<Fingerprint>);
        reads_back(&Content { size: 3, bytes: Some(Bytes::from_static(b"abc")) });
        reads_back(&Content { size: 3, bytes: None });
        let info = Info { key: "k".to_owned(), size: 1, content_type: None, etag: Some("e".to_owned()) };
        reads_back(&info);
        reads_back(&vec![info]);
    }
}
