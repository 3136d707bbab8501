//! Taking replies apart. A reply of another shape than ours means that the key holds something else, never a panic.

use jobcell_core::StoreError;
use redis::Value;

fn unexpected(wanted: &str, got: &Value) -> StoreError {
    let kind = match got {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    StoreError::Corrupt(format!("redis answered {kind} where {wanted} was expected"))
}

pub(crate) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected("a list", &other)),
    }
}

/// Exactly so many items.
pub(crate) fn tuple<const N: usize>(value: Value) -> Result<[Value; N], StoreError> {
    array(value)?.try_into().map_err(|items: Vec<Value>| {
        StoreError::Corrupt(format!("redis answered {} parts where {N} were expected", items.len()))
    })
}

pub(crate) fn int(value: &Value) -> Result<i64, StoreError> {
    match value {
        Value::Int(n) => Ok(*n),
        Value::BulkString(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unexpected("a number", value)),
        other => Err(unexpected("a number", other)),
    }
}

/// A count or a time, which is never negative.
pub(crate) fn count(value: &Value) -> Result<u64, StoreError> {
    Ok(u64::try_from(int(value)?).unwrap_or(0))
}

pub(crate) fn bytes(value: Value) -> Result<Option<Vec<u8>>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        other => Err(unexpected("text", &other)),
    }
}

/// Text; what is not UTF-8 is replaced.
pub(crate) fn text(value: Value) -> Result<Option<String>, StoreError> {
    Ok(bytes(value)?.map(into_text))
}

pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

pub(crate) fn texts(value: Value) -> Result<Vec<String>, StoreError> {
    array(value)?.into_iter().map(|v| Ok(text(v)?.unwrap_or_default())).collect()
}

/// `a b c d` as `(a, b), (c, d)`.
pub(crate) fn pairs(value: Value) -> Result<Vec<(String, String)>, StoreError> {
    let mut texts = texts(value)?.into_iter();
    let mut out = Vec::with_capacity(texts.len() / 2);
    while let (Some(key), Some(value)) = (texts.next(), texts.next()) {
        out.push((key, value));
    }
    Ok(out)
}
