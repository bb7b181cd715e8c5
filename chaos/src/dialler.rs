//! Which of several processes dialled a connection of this machine: by the kernel's list of sockets and the processes'
//! open files. It reads `/proc`, so it knows Linux only.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// Which process dialled from `address`: the number of the mark that stands in its command line. `None` when the
/// process has ended, or is none of these.
pub fn dialler(address: SocketAddr, marks: &[PathBuf]) -> Option<usize> {
    let socket = format!("socket:[{}]", inode(&fs::read_to_string("/proc/net/tcp").ok()?, address)?);
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let marked = processes.filter_map(|process| Some((mark_of(&process, marks)?, process)));
    let mut owners = marked.filter(|(_, process)| has_open(process, &socket)).map(|(mark, _)| mark);
    owners.next()
}

/// The inode of the socket whose own address this is.
fn inode(table: &str, address: SocketAddr) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, inode) = (fields.get(1)?, fields.get(9)?);
        (parsed(local)? == address).then_some(*inode)
    })
}

/// An address as the kernel writes it: `0100007F:1F90` is 127.0.0.1:8080.
fn parsed(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?).into())
}

fn mark_of(process: &Path, marks: &[PathBuf]) -> Option<usize> {
    let command = fs::read(process.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command);
    // An argument that is the marked file, so that no folder is taken for another whose name it begins.
    marks.iter().position(|mark| mark.to_str().is_some_and(|mark| command.split('\0').any(|part| part == mark)))
}

fn has_open(process: &Path, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_this_process_is_found_by_its_command_line() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let own = PathBuf::from(std::env::args().next().unwrap());
        let marks = [PathBuf::from("/nobody/has/this"), own];
        let address = stream.local_addr().unwrap();
        assert_eq!(dialler(address, &marks), Some(1));
        assert_eq!(dialler(address, &marks[..1]), None);
        drop((stream, listener));
    }

    #[test]
    fn the_kernels_addresses_are_read() {
        let expected = if cfg!(target_endian = "little") { "127.0.0.1:8080" } else { "1.0.0.127:8080" };
        assert_eq!(parsed("0100007F:1F90"), Some(expected.parse().unwrap()));
        assert_eq!(parsed("nonsense"), None);
    }
}
