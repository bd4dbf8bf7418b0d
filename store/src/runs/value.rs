//! A variable's value: bytes, and a tag that says what they are.

/// What the bytes of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    None,
    Bool,
    /// Two's complement, little-endian, a multiple of eight bytes.
    Int,
    /// IEEE 754, little-endian.
    Float,
    /// UTF-8.
    Str,
    Bytes,
    /// A container, spelled out in one line of UTF-8.
    Text,
    /// The memory of a bytearray, an array, an ArrayBuffer.
    Buffer,
    /// A JavaScript number: IEEE 754, little-endian.
    Number,
    Undefined,
    /// The variable was deleted.
    Gone,
}

const ALL: [Tag; 11] = [
    Tag::None,
    Tag::Bool,
    Tag::Int,
    Tag::Float,
    Tag::Str,
    Tag::Bytes,
    Tag::Text,
    Tag::Buffer,
    Tag::Number,
    Tag::Undefined,
    Tag::Gone,
];

impl Tag {
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    #[must_use]
    pub fn to_byte(self) -> u8 {
        self as u8 + 1
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub tag: Tag,
    pub bytes: Vec<u8>,
}

impl Value {
    /// What `cat` shows: bytes and buffers as they are, everything else as a line of text.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        let line = match self.tag {
            Tag::Bytes | Tag::Buffer => return self.bytes.clone(),
            Tag::Str | Tag::Text => {
                let mut text = self.bytes.clone();
                text.push(b'\n');
                return text;
            }
            Tag::None => "None".to_owned(),
            Tag::Undefined => "undefined".to_owned(),
            Tag::Gone => "(deleted)".to_owned(),
            Tag::Bool => if self.bytes == [1] { "True" } else { "False" }.to_owned(),
            Tag::Int => decimal(&self.bytes),
            Tag::Float => self.float().map_or_else(String::new, |number| format!("{number:?}")),
            Tag::Number => self.float().map_or_else(String::new, |number| format!("{number}")),
        };
        (line + "\n").into_bytes()
    }

    /// The same on one short line, for a log.
    #[must_use]
    pub fn brief(&self) -> String {
        const LONGEST: usize = 60;
        let text = match self.tag {
            Tag::Bytes | Tag::Buffer => {
                let hex: String = self.bytes.iter().take(LONGEST / 2).map(|b| format!("{b:02x}")).collect();
                return if self.bytes.len() > LONGEST / 2 { hex + "…" } else { hex };
            }
            Tag::Str => format!("{:?}", String::from_utf8_lossy(&self.bytes)),
            _ => String::from_utf8_lossy(&self.shown()).trim_end().to_owned(),
        };
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn float(&self) -> Option<f64> {
        Some(f64::from_le_bytes(self.bytes.as_slice().try_into().ok()?))
    }
}

/// A little-endian number of any length in two's complement, in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    if let Ok(short) = <[u8; 8]>::try_from(bytes) {
        return i64::from_le_bytes(short).to_string();
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    // The magnitude, most significant byte first.
    let mut magnitude: Vec<u8> = bytes.iter().rev().copied().collect();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (flipped, overflow) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (flipped, overflow);
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|&byte| byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut magnitude {
            let part = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(part / 10).unwrap_or(0);
            rest = part % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap_or('0'));
    }
    if digits.is_empty() {
        digits.push('0');
    }
    if negative {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn values_are_shown_as_a_person_would_write_them() {
        let shown =
            |tag, bytes: &[u8]| String::from_utf8(Value { tag, bytes: bytes.to_vec() }.shown()).unwrap();
        assert_eq!(shown(Tag::Int, &(-17_i64).to_le_bytes()), "-17\n");
        let mut big = [0; 16];
        big[8] = 1;
        assert_eq!(shown(Tag::Int, &big), "18446744073709551616\n");
        assert_eq!(shown(Tag::Int, &[0xff; 16]), "-1\n");
        assert_eq!(shown(Tag::Float, &1.0_f64.to_le_bytes()), "1.0\n");
        assert_eq!(shown(Tag::Number, &1.0_f64.to_le_bytes()), "1\n");
        assert_eq!(shown(Tag::Str, "é".as_bytes()), "é\n");
        assert_eq!(shown(Tag::Bool, &[1]), "True\n");
        assert_eq!(shown(Tag::Bytes, b"raw"), "raw");
        assert_eq!(Value { tag: Tag::Str, bytes: b"a\nb".to_vec() }.brief(), "\"a\\nb\"");
    }

    #[test]
    fn every_tag_reads_back() {
        for tag in ALL {
            assert_eq!(Tag::from_byte(tag.to_byte()), Some(tag));
        }
        assert_eq!((Tag::from_byte(0), Tag::from_byte(12)), (None, None));
    }
}
