//! Hundreds of cuts: connections that break anywhere, servers that die, and not one byte that is lost, doubled or moved.

use std::time::Duration;

use super::{Dialect, id};
use crate::support::slow::Dice;
use crate::support::{Server, Vault, noise};

const CUTS: usize = 200;
/// Every so many cuts the server is killed as well.
const CUTS_PER_LIFE: u64 = 40;

struct Sender {
    dialect: Dialect,
    at: String,
    bytes: Vec<u8>,
    /// What the server has told: it may not take it back.
    told: usize,
}

#[test]
fn hundreds_of_cuts_and_some_deaths_lose_double_and_move_no_byte() {
    let mut dice = Dice::thrown();
    let vault = Vault::new();
    let mut server = vault.serve();
    let mut senders: Vec<_> = (0..4).map(|number| Sender::begin(&server, &mut dice, number)).collect();

    for _ in 0..CUTS {
        let number = dice.below(senders.len() as u64) as usize;
        senders[number].send_until_cut(&server, &mut dice);
        if dice.below(CUTS_PER_LIFE) == 0 {
            server.kill();
            server = vault.serve();
        }
    }

    for sender in &mut senders {
        sender.finish(&server);
        assert!(server.play(id(&sender.at)) == sender.bytes, "{:?} came out changed", sender.dialect);
        assert_eq!(server.show(id(&sender.at))["complete"], true);
    }
    server.stop();
    let report = vault.ok(&["verify"]);
    assert_eq!((&report["recordings"], report["faults"].as_array().map(Vec::len)), (&4.into(), Some(0)));
}

impl Sender {
    fn begin(server: &Server, dice: &mut Dice, number: u64) -> Sender {
        let dialect = Dialect::BOTH[(number % 2) as usize];
        let bytes = noise(dice.next(), 400_000 + dice.below(400_000) as usize);
        let len = Some(bytes.len()).filter(|_| number < 2);
        let at = dialect.begin(server, &format!("{number}"), len);
        Sender { dialect, at, bytes, told: 0 }
    }

    fn ask_offset(&mut self, server: &Server) {
        let told = self.dialect.offset(server, &self.at);
        assert!((self.told..=self.bytes.len()).contains(&told), "{} was told, and now {told}", self.told);
        self.told = told;
    }

    /// Declares the rest, or a part of it, and breaks off somewhere: with the connection still open, ended, or gone.
    fn send_until_cut(&mut self, server: &Server, dice: &mut Dice) {
        self.ask_offset(server);
        let rest = self.bytes.len() - self.told;
        if rest == 0 {
            return;
        }
        // Small steps, so that there is something left to cut.
        let sent = dice.below(rest.min(12_000) as u64 + 1) as usize;
        let declared = if dice.below(3) == 0 { rest } else { rest.min(sent + 1 + dice.below(5_000) as usize) };
        let range = self.told..self.told + declared;
        let mut wire = server.connect();
        let head = self.dialect.piece(server, &self.at, &self.bytes, range).head();
        if dice.below(20) == 0 {
            let _ = wire.send(&head[..dice.below(head.len() as u64) as usize]);
            return;
        }
        let _ = wire.send(head);
        let _ = wire.send(&self.bytes[self.told..self.told + sent]);
        match dice.below(3) {
            0 => drop(wire),
            1 => {
                wire.end();
                let answer = wire.answer().expect("whoever listens is answered");
                self.told = self.told.max(super::offset(&answer));
            }
            // It hangs until the next request ends it, and its bytes are on their way.
            _ => {
                std::thread::sleep(Duration::from_millis(dice.below(10)));
                let mut hanging = wire;
                std::thread::spawn(move || hanging.rest());
            }
        }
    }

    fn finish(&mut self, server: &Server) {
        self.ask_offset(server);
        if self.dialect.head(server, &self.at).header("content-location").is_empty() {
            self.dialect.append(server, &self.at, &self.bytes, self.told..self.bytes.len());
        }
    }
}
