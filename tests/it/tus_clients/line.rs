//! A line that breaks: what it carries is carried on, until a connection has carried as many bytes as the dice gave it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Every so many connections one is let through, so that nobody waits for ever.
const CONNECTIONS_PER_GRACE: usize = 25;

pub struct BadLine {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    cuts: AtomicUsize,
    is_over: AtomicBool,
}

impl BadLine {
    pub fn to(server: &str, seed: u64) -> BadLine {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared { cuts: AtomicUsize::new(0), is_over: AtomicBool::new(false) });
        let (server, within) = (server.to_owned(), shared.clone());
        std::thread::spawn(move || {
            let mut state = seed | 1;
            for (number, client) in listener.incoming().flatten().enumerate() {
                if within.is_over.load(Relaxed) {
                    return;
                }
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let is_grace = number % CONNECTIONS_PER_GRACE == CONNECTIONS_PER_GRACE - 1;
                let budget = if is_grace { u64::MAX } else { 100 + (state >> 33) % 60_000 };
                if let Ok(server) = TcpStream::connect(&server) {
                    carry(client, server, budget, &within);
                }
            }
        });
        BadLine { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/uploads", self.address)
    }

    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Relaxed)
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // Wakes whoever accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

/// Both directions, and one budget for them: a cut may hit the request as well as its answer.
fn carry(client: TcpStream, server: TcpStream, budget: u64, shared: &Arc<Shared>) {
    let left = Arc::new(AtomicU64::new(budget));
    let pairs = [(&client, &server), (&server, &client)];
    for (from, to) in pairs.map(|(from, to)| (from.try_clone(), to.try_clone())) {
        let (Ok(from), Ok(to)) = (from, to) else { return };
        let (left, shared) = (left.clone(), shared.clone());
        std::thread::spawn(move || one_way(from, to, &left, &shared));
    }
}

fn one_way(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(len) = from.read(&mut buffer) {
        if len == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let before = left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(len as u64)));
        let passed = before.unwrap_or(0).min(len as u64) as usize;
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        if passed < len {
            shared.cuts.fetch_add(1, Relaxed);
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
