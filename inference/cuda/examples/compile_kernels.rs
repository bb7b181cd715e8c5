//! Makes `kernels/llama.ptx` from `kernels/llama.cu` with NVIDIA's run-time compiler, on a machine with or without a GPU:
//! `cargo run -p steward-inference-cuda --example compile_kernels`, with `NVRTC_LIBRARY` naming the library
//! (`libnvrtc.so.12` unless it is set) and its folder in `LD_LIBRARY_PATH`, since it looks for a part of itself there.
//!
//! Take the compiler of CUDA 12.1: a driver reads the PTX of its own CUDA version and of older ones, so a newer compiler
//! would shut out older drivers.
#![expect(clippy::print_stdout, reason = "a tool says what it did")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use sha2::{Digest, Sha256};

const OPTIONS: [&CStr; 3] = [c"--gpu-architecture=compute_80", c"--fmad=false", c"--std=c++17"];

/// A function of the library, by its name.
macro_rules! function {
    ($library:expr, $name:expr, fn($($argument:ty),*)) => {{
        // SAFETY: the handle came from `dlopen`, and the name ends in a zero byte.
        let address = unsafe { libc::dlsym($library, $name.as_ptr()) };
        assert!(!address.is_null(), "the library lacks {:?}", $name);
        // SAFETY: the symbol is a function of this signature in NVRTC.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> c_int>(address) }
    }};
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let source = std::fs::read(folder.join("llama.cu")).expect("the source can be read");
    let name = std::env::var("NVRTC_LIBRARY").unwrap_or_else(|_| "libnvrtc.so.12".to_owned());
    let compiled = compile(&name, &source);
    let hash: String = Sha256::digest(&source).iter().map(|byte| format!("{byte:02x}")).collect();
    let head = format!("// Made by examples/compile_kernels.rs from llama.cu, whose SHA-256 is\n// {hash}\n");
    let path = folder.join("llama.ptx");
    std::fs::write(&path, head + &compiled).expect("the PTX can be written");
    println!("{} is made from a source of SHA-256 {hash}", path.display());
}

fn compile(name: &str, source: &[u8]) -> String {
    let c_name = CString::new(name).expect("a path without a zero byte");
    // SAFETY: the name ends in a zero byte.
    let library = unsafe { libc::dlopen(c_name.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "{name} cannot be loaded: set NVRTC_LIBRARY, and LD_LIBRARY_PATH to its folder");
    type Names = *const *const c_char;
    let create = function!(
        library,
        c"nvrtcCreateProgram",
        fn(*mut *mut c_void, *const c_char, *const c_char, c_int, Names, Names)
    );
    let compile = function!(library, c"nvrtcCompileProgram", fn(*mut c_void, c_int, Names));
    let source = CString::new(source).expect("a source without a zero byte");
    let options = OPTIONS.map(CStr::as_ptr);
    let (mut program, none) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: source and name end in zero bytes; there are no headers.
    let created = unsafe { create(&raw mut program, source.as_ptr(), c"llama.cu".as_ptr(), 0, none, none) };
    assert_eq!(created, 0, "a program is made");
    // SAFETY: there are as many options as is said, and they end in zero bytes.
    let status = unsafe { compile(program, OPTIONS.len() as c_int, options.as_ptr()) };
    let log = text(library, program, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog");
    assert_eq!(status, 0, "the source does not compile:\n{log}");
    text(library, program, c"nvrtcGetPTXSize", c"nvrtcGetPTX")
}

/// A text of the program: how long it is with its zero byte, and then itself.
fn text(library: *mut c_void, program: *mut c_void, size: &CStr, get: &CStr) -> String {
    let (size, get) =
        (function!(library, size, fn(*mut c_void, *mut usize)), function!(library, get, fn(*mut c_void, *mut c_char)));
    let mut bytes = 0usize;
    // SAFETY: the program is there, and one size is written.
    assert_eq!(unsafe { size(program, &raw mut bytes) }, 0);
    let mut text = vec![0u8; bytes];
    // SAFETY: there is room for as many bytes as the library asked for.
    assert_eq!(unsafe { get(program, text.as_mut_ptr().cast()) }, 0);
    text.pop();
    String::from_utf8(text).expect("PTX is text")
}
