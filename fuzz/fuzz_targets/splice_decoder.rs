//! Splices: any payload is refused or stays within its base, and a splice that was made gives back what it was made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickfs_store::content::fuzzing::{apply_splice, base_len_of_splice, make_splice};

/// Bases and versions are not longer: a splice says lengths, and memory is not what is tested.
const LEN_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
    if head[2] % 2 == 0 {
        any_payload(rest, len);
    } else {
        let (base, new) = rest.split_at(len.min(rest.len()));
        let payload = make_splice(base, new);
        assert_eq!(base_len_of_splice(&payload, new.len()), Some(base.len()));
        assert_eq!(apply_splice(&payload, base, new.len()).as_deref(), Some(new));
    }
});

fn any_payload(payload: &[u8], len: usize) {
    let Some(base_len) = base_len_of_splice(payload, len).filter(|base_len| *base_len <= LEN_MAX) else {
        return;
    };
    let made = apply_splice(payload, &vec![b'x'; base_len], len);
    assert_eq!(made.map(|text| text.len()), Some(len));
}
