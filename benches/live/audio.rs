//! What a stream consists of: bytes that follow from its number and the position, so that nobody has to keep them.

/// The bytes of stream `index` from `position` on: SplitMix64 in counter mode.
pub fn audio(index: usize, position: u64, bytes: &mut [u8]) {
    let word = |at: u64| {
        let mut z = ((index as u64) << 40).wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let skew = (position % 8) as usize;
    let lead = if skew == 0 { 0 } else { (8 - skew).min(bytes.len()) };
    let (lead, aligned) = bytes.split_at_mut(lead);
    lead.copy_from_slice(&word(position / 8)[skew..][..lead.len()]);
    let first = position.div_ceil(8);
    let (words, tail) = aligned.as_chunks_mut::<8>();
    for (at, bytes) in words.iter_mut().enumerate() {
        *bytes = word(first + at as u64);
    }
    tail.copy_from_slice(&word(first + words.len() as u64)[..tail.len()]);
}
