//! The sample that `quickstart` records: a ringing tone, then a voice that sings five vowels; made, not shipped.

use std::f64::consts::TAU;

const RATE_HZ: usize = 8_000;

/// Formants of five vowels in hertz (Peterson and Barney 1952, averages for men): "ah, eh, ee, oh, oo".
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [530.0, 1840.0, 2480.0],
    [270.0, 2290.0, 3010.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
];
/// A rising and falling third, in hertz.
const PITCHES: [f64; 5] = [131.0, 147.0, 165.0, 147.0, 131.0];

/// Bytes that a live call would bring every 200 ms.
pub const BYTES_PER_200_MS: usize = RATE_HZ * 2 / 5;

/// About five seconds of 16-bit mono PCM at 8 kHz in a RIFF file.
pub fn wav() -> Vec<u8> {
    let mut samples = Vec::new();
    ring(&mut samples, 1.0);
    silence(&mut samples, 0.4);
    for (formants, pitch) in VOWELS.iter().zip(PITCHES) {
        vowel(&mut samples, formants, pitch, 0.55);
        silence(&mut samples, 0.08);
    }
    silence(&mut samples, 0.3);
    riff(&samples)
}

/// The ringing tone of most of Europe: 425 Hz (ETSI TR 101 041-2).
fn ring(samples: &mut Vec<f64>, seconds: f64) {
    let count = (seconds * RATE_HZ as f64) as usize;
    samples.extend((0..count).map(|n| 0.25 * (TAU * 425.0 * time(n)).sin() * fade(n, count)));
}

fn silence(samples: &mut Vec<f64>, seconds: f64) {
    samples.extend(std::iter::repeat_n(0.0, (seconds * RATE_HZ as f64) as usize));
}

/// A pulse train through three resonators: the source-filter model of a voice.
fn vowel(samples: &mut Vec<f64>, formants: &[f64; 3], pitch: f64, seconds: f64) {
    let count = (seconds * RATE_HZ as f64) as usize;
    let period = RATE_HZ as f64 / pitch;
    let mut state = [[0.0; 2]; 3];
    for n in 0..count {
        let pulse = if (n as f64 % period) < 1.0 { 1.0 } else { 0.0 };
        let mut sum = 0.0;
        for (index, (formant, state)) in formants.iter().zip(&mut state).enumerate() {
            let bandwidth = 80.0 + 40.0 * index as f64;
            let radius = (-std::f64::consts::PI * bandwidth / RATE_HZ as f64).exp();
            let output =
                pulse + 2.0 * radius * (TAU * formant / RATE_HZ as f64).cos() * state[0] - radius * radius * state[1];
            *state = [output, state[0]];
            sum += output / (index + 1) as f64;
        }
        samples.push(0.22 * sum * fade(n, count));
    }
}

/// Twenty milliseconds up and down, so that nothing clicks.
fn fade(n: usize, count: usize) -> f64 {
    let edge = RATE_HZ / 50;
    (n.min(count - n) as f64 / edge as f64).min(1.0)
}

fn time(n: usize) -> f64 {
    n as f64 / RATE_HZ as f64
}

fn riff(samples: &[f64]) -> Vec<u8> {
    let data_len = samples.len() as u32 * 2;
    let rate = RATE_HZ as u32;
    let mut file = Vec::with_capacity(44 + data_len as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + data_len).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    // PCM, one channel.
    file.extend_from_slice(&[1, 0, 1, 0]);
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&(rate * 2).to_le_bytes());
    // Two bytes a frame, 16 bits a sample.
    file.extend_from_slice(&[2, 0, 16, 0]);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&data_len.to_le_bytes());
    let bytes = samples.iter().flat_map(|sample| ((sample.clamp(-1.0, 1.0) * 32_000.0) as i16).to_le_bytes());
    file.extend(bytes);
    file
}
