//! The name of an enum's variant, read through serde without serialising anything: what a dead letter calls its message.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};

/// The name of the variant that `value` is, or of its type when it is no enum.
pub(crate) fn name_of<T: Serialize>(value: &T) -> &'static str {
    match value.serialize(NameOnly) {
        Err(Found(Some(name))) => name,
        _ => std::any::type_name::<T>().rsplit("::").next().unwrap_or("message"),
    }
}

/// Ends serialization at the first thing it meets, with the name it has.
struct NameOnly;

#[derive(Debug)]
struct Found(Option<&'static str>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("no variant"))
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self(None)
    }
}

type None_ = Impossible<(), Found>;

macro_rules! nameless {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Found> { Err(Found(None)) })*
    };
}

impl Serializer for NameOnly {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = None_;
    type SerializeTuple = None_;
    type SerializeTupleStruct = None_;
    type SerializeTupleVariant = None_;
    type SerializeMap = None_;
    type SerializeStruct = None_;
    type SerializeStructVariant = None_;

    nameless! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> None_;
        serialize_tuple(usize) -> None_;
        serialize_tuple_struct(&'static str, usize) -> None_;
        serialize_map(Option<usize>) -> None_;
        serialize_struct(&'static str, usize) -> None_;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Found> {
        Err(Found(Some(variant)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Found> {
        Err(Found(Some(variant)))
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<None_, Found> {
        Err(Found(Some(variant)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<None_, Found> {
        Err(Found(Some(variant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_its_variant() {
        #[derive(Serialize)]
        enum Request {
            Ping,
            Add(u32),
            Set { _value: u32 },
        }
        assert_eq!(name_of(&Request::Ping), "Ping");
        assert_eq!(name_of(&Request::Add(1)), "Add");
        assert_eq!(name_of(&Request::Set { _value: 1 }), "Set");
        assert_eq!(name_of(&7_u32), "u32");
    }
}
