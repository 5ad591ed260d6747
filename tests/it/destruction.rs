//! What `expire` does to the files of the key store, as the kernel sees it: overwritten, synced, unlinked, synced; never
//! renamed over, never truncated.

use std::fs;
use std::process::Command;

use crate::support::Vault;
use crate::support::held::now;

/// One line of strace: a call, its arguments and its result.
struct Call {
    name: String,
    text: String,
}

#[tokio::test]
async fn the_old_generation_is_overwritten_and_synced_before_it_is_unlinked_and_the_new_one_is_there_before() {
    let vault = Vault::new();
    let (keys, generations) = (vault.path().join("keys"), vault.path().join("generations"));
    let len_of = |dir: &std::path::Path, name: &str| fs::metadata(dir.join(name)).expect("it is there").len();
    let (ring_len, generation_len) = (len_of(&keys, "ring.1"), len_of(&generations, "generation.1"));

    let calls = trace_expire(&vault);

    let mut last = 0;
    // Each begins after the one before has ended.
    for (dir, name, len) in [(&generations, "generation.1", generation_len), (&keys, "ring.1", ring_len)] {
        let path = dir.join(name).display().to_string();
        let at = |from: usize, what: &dyn Fn(&Call) -> bool| {
            let found = calls[from..].iter().position(what).map(|index| from + index);
            found.unwrap_or_else(|| panic!("{name}: a step is missing after call {from}:\n{}", shown(&calls)))
        };
        let on = |call: &Call| call.text.contains(&format!("<{path}>"));
        let opened = at(last, &|call| call.name == "openat" && call.text.contains(&format!("\"{path}\", O_WRONLY")));
        let synced = at(opened, &|call| call.name == "fsync" && on(call));
        let unlinked =
            at(synced, &|call| call.name.starts_with("unlink") && call.text.contains(&format!("\"{path}\"")));
        let dir_synced =
            at(unlinked, &|call| call.name == "fsync" && call.text.contains(&format!("<{}>", dir.display())));
        let writes = calls[opened..synced].iter().filter(|call| call.name.contains("write") && on(call));
        let written: u64 = writes.map(|call| result_of(&call.text)).sum();
        assert_eq!(written, len, "all of {name} is overwritten before it is synced");
        assert!(!calls[opened..].iter().any(|call| call.name == "ftruncate" && on(call)));
        last = dir_synced;
    }
    let first_destroyed = calls.iter().position(|call| call.text.contains("generation.1\", O_WRONLY")).expect("it is");
    for (dir, name) in [(&generations, "generation.2"), (&keys, "ring.2")] {
        let path = dir.join(name).display().to_string();
        let before = &calls[..first_destroyed];
        let created = before.iter().position(|call| {
            call.name == "openat" && call.text.contains(&format!("\"{path}\"")) && call.text.contains("O_CREAT")
        });
        let created = created.unwrap_or_else(|| panic!("{name} is not made before:\n{}", shown(&calls)));
        assert!(before[created].text.contains("O_EXCL"), "{}", before[created].text);
        let synced =
            |what: String| before[created..].iter().any(|call| call.name == "fsync" && call.text.contains(&what));
        assert!(synced(format!("<{path}>")), "{name} is durable before the old one is touched");
        assert!(synced(format!("<{}>", dir.display())), "and its name is");
    }
    let touches = |call: &&Call| call.text.contains("/keys") || call.text.contains("/generations");
    for call in calls.iter().filter(touches) {
        assert!(!call.name.starts_with("rename") && !call.text.contains("O_TRUNC"), "{}", call.text);
    }
}

fn trace_expire(vault: &Vault) -> Vec<Call> {
    let file = vault.beside("trace");
    let floor = now() + jiff::SignedDuration::from_hours(24);
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(&file);
    command.args([
        "-e",
        "trace=openat,write,pwrite64,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2,ftruncate",
    ]);
    let traced = vault.command(&["expire", "--floor", &floor.to_string()], Some("+1d"));
    command.arg(traced.get_program()).args(traced.get_args());
    command.envs(traced.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("strace runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    whole_lines(&fs::read_to_string(file).expect("a trace"))
}

/// Calls in the order in which they ended: what strace split over two lines is one again.
fn whole_lines(trace: &str) -> Vec<Call> {
    let mut unfinished = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let text = if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid.to_owned(), head.to_owned());
            continue;
        } else if rest.starts_with("<... ") {
            let head = unfinished.remove(pid).unwrap_or_default();
            head + rest.split_once("resumed>").map_or("", |(_, tail)| tail)
        } else {
            rest.to_owned()
        };
        if let Some((name, _)) = text.split_once('(') {
            calls.push(Call { name: name.to_owned(), text });
        }
    }
    calls
}

fn result_of(text: &str) -> u64 {
    text.rsplit_once("= ").and_then(|(_, result)| result.trim().parse().ok()).unwrap_or(0)
}

fn shown(calls: &[Call]) -> String {
    let ours = calls.iter().filter(|call| call.text.contains("/keys") || call.text.contains("/generations"));
    ours.map(|call| format!("{}\n", call.text)).collect()
}
