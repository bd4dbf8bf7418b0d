//! Turns a fuzzer's bytes into small changes of a file, so that most of it stays as a real one is.
#![forbid(unsafe_code)]

/// Changes `bytes` as the script says: each five bytes of it are what to do, where (two bytes), and with what.
pub fn edit(bytes: &mut Vec<u8>, script: &[u8]) {
    for step in script.chunks_exact(5) {
        let at = usize::from(u16::from_le_bytes([step[1], step[2]])) % (bytes.len() + 1);
        let value = &step[3..5];
        match step[0] % 6 {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, value.iter().copied())),
            2 => drop(bytes.drain(at..bytes.len().min(at + usize::from(value[0])))),
            3 => bytes.extend_from_within(at..bytes.len().min(at + usize::from(value[0]))),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= value[0];
                }
                if let Some(byte) = bytes.get_mut(at + 1) {
                    *byte ^= value[1];
                }
            }
        }
    }
}
