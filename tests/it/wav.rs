//! What the bytes of a recording tell: streamed WAVs play with true sizes, types are recognised, durations are told.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::wire::audio;
use crate::support::{Vault, id_of, wait_until};

/// WAVs whose writers could not go back to their header, each about three seconds.
fn streamed() -> Vec<(&'static str, Vec<u8>)> {
    let ffmpeg = |args: &[&str]| {
        let source = ["-v", "error", "-nostdin", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=3"];
        output("ffmpeg", &[&source[..], args, &["-f", "wav", "pipe:1"]].concat())
    };
    let sox = |args: &[&str]| {
        output(
            "sox",
            &[&["-n", "-r", "8000", "-c", "1"][..], args, &["-t", "wav", "-", "synth", "3", "sine", "440"]].concat(),
        )
    };
    let piped = vec![
        ("ffmpeg", ffmpeg(&["-c:a", "pcm_s16le"])),
        ("ffmpeg-mulaw", ffmpeg(&["-c:a", "pcm_mulaw"])),
        ("ffmpeg-rf64", ffmpeg(&["-rf64", "always"])),
        ("sox", sox(&["-b", "16"])),
        ("sox-alaw", sox(&["-e", "a-law"])),
    ];
    let mut all = piped.clone();
    // As the npm package `wav` and writers of zeros leave them.
    for (name, riff, data) in [("npm-wav", 0xffff_ff9bu32, 0xffff_ffbf_u32), ("zeros", 0, 0)] {
        let mut bytes = piped[3].1.clone();
        bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        bytes[40..44].copy_from_slice(&data.to_le_bytes());
        all.push((name, bytes));
    }
    all
}

#[test]
fn a_streamed_wav_plays_with_its_true_sizes_and_raw_as_it_came() {
    let vault = Vault::new();
    let server = vault.serve();
    for (name, bytes) in streamed() {
        let uploaded = server.put(name, &bytes).send();
        let id = uploaded.id(201);

        let played = server.play(&id);
        let raw = server.see(&format!("{}?raw=1", audio(&id)));

        assert!(raw.body == bytes, "{name}: raw is not what came");
        assert_eq!(played.len(), bytes.len(), "{name}");
        assert_ne!(played, bytes, "{name}: its header was wrong");
        assert_eq!(played[played.len() - 1_000..], bytes[bytes.len() - 1_000..], "{name}: only its header was wrong");
        assert_ne!(server.see(&audio(&id)).header("etag"), raw.header("etag"), "{name}: two forms, two versions");
        let file = vault.dir.path().join(format!("{name}.wav"));
        std::fs::write(&file, &played).expect("a file");
        assert_eq!(seconds(&file), "3.000000", "{name}");
        assert!(!warns(&file), "{name}: sox does not warn of its header");
        let told = uploaded.json();
        assert_eq!((&told["media_type"], &told["duration_ms"]), (&"audio/wav".into(), &3_000.into()), "{name}: {told}");
        assert_eq!(told["call"]["duration_ms"], 3_000, "{name}");
    }
}

#[test]
fn every_range_of_a_streamed_wav_is_a_part_of_what_plays() {
    let vault = Vault::new();
    let server = vault.serve();
    for (name, bytes) in streamed() {
        let id = server.put(name, &bytes).send().id(201);
        let played = server.play(&id);
        let last = bytes.len() - 1;
        let mut ranges: Vec<(usize, usize)> = (0..120).step_by(3).map(|first| (first, first + 5)).collect();
        ranges.extend([(0, 0), (4, 7), (40, 43), (5, 20_000), (16_380, 16_390), (16_384, last), (last, last)]);
        for (first, last) in ranges {
            let part = server.ask("GET", &audio(&id)).header("Range", &format!("bytes={first}-{last}")).send();
            assert_eq!(part.status, 206, "{name}");
            assert!(part.body == played[first..=last], "{name}: bytes {first} to {last}");
            let raw = server.ask("GET", &format!("{}?raw=1", audio(&id)));
            assert!(raw.header("Range", &format!("bytes={first}-{last}")).send().body == bytes[first..=last], "{name}");
        }
    }
}

#[test]
fn a_wav_whose_header_is_right_is_played_as_it_came() {
    let vault = Vault::new();
    let server = vault.serve();
    let file = vault.dir.path().join("right.wav");
    output("sox", &["-n", "-r", "8000", file.to_str().expect("UTF-8"), "synth", "2", "sine", "300"]);
    let bytes = std::fs::read(&file).expect("a file");

    let id = server.put("right", &bytes).send().id(201);

    assert!(server.play(&id) == bytes);
}

#[test]
fn a_partial_wav_tells_how_long_it_is_and_not_how_long_it_would_have_been() {
    let vault = Vault::new();
    let server = vault.serve();
    let file = vault.dir.path().join("whole.wav");
    output("sox", &["-n", "-r", "8000", "-b", "16", file.to_str().expect("UTF-8"), "synth", "10", "sine", "300"]);
    let bytes = std::fs::read(&file).expect("a file");

    let part = &bytes[..44 + 4 * 16_000];
    let range = format!("bytes 0-{}/{}", part.len() - 1, bytes.len());
    let uploaded = server.put("part", part).header("Content-Range", &range).send();

    assert_eq!(uploaded.json()["duration_ms"], 4_000);
    std::fs::write(&file, server.play(&uploaded.id(201))).expect("a file");
    assert_eq!(seconds(&file), "4.000000");
}

#[test]
fn ffmpeg_killed_halfway_leaves_a_partial_recording_that_plays() {
    let vault = Vault::new();
    let server = vault.serve();
    let header = format!("Authorization: Bearer {}\r\n", vault.token);
    let url = format!("{}/call.wav", server.recordings());
    let source = ["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000"];
    let upload = ["-c:a", "pcm_mulaw", "-f", "wav", "-method", "PUT", "-headers", &header, &url];
    let mut ffmpeg = Command::new("ffmpeg").args(source).args(upload).spawn().expect("ffmpeg runs");
    std::thread::sleep(std::time::Duration::from_secs(4));

    ffmpeg.kill().expect("it runs");
    ffmpeg.wait().expect("it ends");

    wait_until("the upload has ended", || server.list("state=receiving").is_empty() && !server.list("").is_empty());
    let recording = server.list("").remove(0);
    assert_eq!((&recording["complete"], &recording["media_type"]), (&false.into(), &"audio/wav".into()));
    let file = vault.dir.path().join("kept.wav");
    std::fs::write(&file, server.play(&id_of(&recording))).expect("a file");
    let heard: f64 = seconds(&file).parse().expect("a duration");
    assert!((1.0..6.0).contains(&heard), "{heard} s");
    let told = recording["duration_ms"].as_f64().expect("a duration") / 1_000.0;
    assert!((told - heard).abs() < 0.01, "{told} s are told, {heard} s are heard");
}

#[test]
fn types_and_durations_of_what_clients_send_are_told() {
    let vault = Vault::new();
    let server = vault.serve();
    for (format, codec, media_type) in
        [("mp3", "libmp3lame", "audio/mpeg"), ("ogg", "libopus", "audio/ogg"), ("ogg", "libvorbis", "audio/ogg")]
    {
        let source =
            ["-v", "error", "-nostdin", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=5"];
        let bytes = output("ffmpeg", &[&source[..], &["-c:a", codec, "-f", format, "pipe:1"]].concat());

        // What curl says with --data-binary.
        let form = "application/x-www-form-urlencoded";
        let told = server.put(codec, &bytes).header("Content-Type", form).send().json();

        assert_eq!(told["media_type"], media_type, "{codec}");
        let duration = told["duration_ms"].as_u64().unwrap_or_else(|| panic!("{codec} has no duration"));
        assert!((4_950..=5_150).contains(&duration), "{codec}: {duration} ms");
        let id = id_of(&told);
        assert_eq!(server.see(&audio(&id)).header("content-type"), media_type);
        assert!(server.play(&id) == bytes);
    }
    let told = server.put("own", b"no audio at all").header("Callvault-Duration-Ms", "77").send().json();
    assert_eq!((&told["duration_ms"], &told["call"]["duration_ms"]), (&serde_json::Value::Null, &77.into()));
}

fn seconds(file: &Path) -> String {
    let args = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file.to_str().expect("UTF-8")];
    String::from_utf8(output("ffprobe", &args)).expect("text").trim().to_owned()
}

/// Whether sox finds the header wanting.
fn warns(file: &Path) -> bool {
    let output = Command::new("sox").arg("--info").arg(file).output().expect("sox runs");
    !output.stderr.is_empty()
}

fn output(tool: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(tool).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{tool} does not run: {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
