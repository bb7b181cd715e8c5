//! The types of the C interface, laid out as in `fdb_c.h` and `fdb_c_types.h`.

#![expect(missing_docs, non_camel_case_types, reason = "the names and their meaning are FoundationDB's")]

use std::ffi::{c_int, c_uchar, c_void};

pub type fdb_error_t = c_int;
pub type fdb_bool_t = c_int;

macro_rules! opaque {
    ($($name:ident $alias:ident),*) => {$(
        #[derive(Debug)]
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        }
        pub type $alias = $name;
    )*};
}

opaque!(FDB_future FDBFuture, FDB_database FDBDatabase, FDB_tenant FDBTenant, FDB_transaction FDBTransaction);

pub type FDBCallback = Option<unsafe extern "C" fn(future: *mut FDBFuture, callback_parameter: *mut c_void)>;

#[derive(Debug, Clone, Copy)]
#[repr(C, packed(4))]
pub struct FDBKey {
    pub key: *const u8,
    pub key_length: c_int,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, packed(4))]
pub struct FDBKeyValue {
    pub key: *const u8,
    pub key_length: c_int,
    pub value: *const u8,
    pub value_length: c_int,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FDBKeySelector {
    pub key: FDBKey,
    pub orEqual: fdb_bool_t,
    pub offset: c_int,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FDBGetRangeReqAndResult {
    pub begin: FDBKeySelector,
    pub end: FDBKeySelector,
    pub data: *mut FDBKeyValue,
    pub m_size: c_int,
    pub m_capacity: c_int,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FDBMappedKeyValue {
    pub key: FDBKey,
    pub value: FDBKey,
    pub getRange: FDBGetRangeReqAndResult,
    pub buffer: [c_uchar; 32],
}

// The comment on `FDBMappedKeyValue` in `fdb_c.h` says 112 bytes.
const _: () = assert!(size_of::<FDBKeyValue>() == 24 && size_of::<FDBMappedKeyValue>() == 112);
