//! Unix sockets and their files

use core::sync::atomic::{AtomicU32, Ordering};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use flyrpc_blocking::{Bytes, Client, CloseReason};

use crate::common::{SOON, bounded, connect, echo, noise};

/// A folder of a test's own
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("flyrpc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn socket(&self) -> (PathBuf, String) {
        let path = self.0.join("socket");
        let address = format!("unix:{}", path.display());
        (path, address)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[test]
fn calls_go_over_unix_sockets() {
    bounded(|| {
        let folder = Folder::new();
        let (path, address) = folder.socket();
        let server = echo().listen(&address).unwrap();
        assert_eq!(server.address(), address);
        let client = connect(Client::new().handle("echo", |payload: Bytes| payload), &server);
        for len in [0, 1, 65_536, 1 << 20] {
            assert!(client.call("echo", noise(len)).unwrap() == noise(len));
            assert!(server.peers()[0].call("echo", noise(len)).unwrap() == noise(len));
        }
        assert!(exists(&path));
        server.shutdown(SOON);
        assert_eq!(client.closed(), CloseReason::PeerClosed);
        assert!(!exists(&path), "the file is removed at the end");
    });
}

#[test]
fn json_rpc_goes_over_unix_sockets() {
    bounded(|| {
        let folder = Folder::new();
        let (path, address) = folder.socket();
        crate::jsonrpc::calls_both_ways(&format!("jsonrpc+{address}"));
        assert!(!exists(&path), "the file is removed at the end");
    });
}

#[test]
fn the_file_of_a_dead_server_is_replaced() {
    bounded(|| {
        let folder = Folder::new();
        let (path, address) = folder.socket();
        drop(UnixListener::bind(&path).unwrap());
        assert!(exists(&path) && UnixStream::connect(&path).is_err());
        let server = echo().listen(&address).unwrap();
        let client = connect(Client::new(), &server);
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
        drop(server);
        assert!(!exists(&path));
    });
}

#[test]
fn a_file_that_is_in_use_is_left_alone() {
    bounded(|| {
        let folder = Folder::new();
        let (path, address) = folder.socket();
        let server = echo().listen(&address).unwrap();
        let refused = echo().listen(&address).map(drop).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        let client = connect(Client::new(), &server);
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
        drop(server);

        std::fs::write(&path, "not a socket").unwrap();
        let refused = echo().listen(&address).map(drop).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a socket");
    });
}

#[test]
fn a_server_stops_though_its_file_is_gone() {
    bounded(|| {
        let folder = Folder::new();
        let (path, address) = folder.socket();
        let server = echo().listen(&address).unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(server);

        // And leaves the file of its successor alone.
        let old = echo().listen(&address).unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = echo().listen(&address).unwrap();
        drop(old);
        let client = connect(Client::new(), &new);
        assert_eq!(client.call("echo", b"x"), Ok("x".into()));
    });
}

#[test]
fn connecting_to_a_file_that_is_not_there_says_so() {
    bounded(|| {
        let folder = Folder::new();
        let (_, address) = folder.socket();
        let error = Client::new().connect(&address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let error = echo().listen(format!("{address}/no/such/folder")).map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}
