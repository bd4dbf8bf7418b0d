//! Instructions as an assembler spells them, and what is read of them.

use super::*;

/// What is read of these bytes; another byte behind them would be one too many.
fn read(bytes: &[u8]) -> Option<Store> {
    let store = decode(|n| *bytes.get(n).unwrap_or_else(|| panic!("{bytes:x?} is no longer than it is")));
    store.inspect(|store| assert_eq!(store.len, bytes.len(), "{bytes:x?}"))
}

fn address(base: u8, index: Option<(u8, u8)>, displacement: i64) -> Address {
    let (index, scale) = index.map_or((None, 0), |(index, scale)| (Some(index), scale));
    Address { base: Some(base), index, scale, displacement, from_next: false }
}

#[test]
fn addresses_are_read_and_taken_out() {
    let next = Address { displacement: -8, from_next: true, ..Address::default() };
    let nothing = Address { displacement: 0x1000, ..Address::default() };
    let cases: [(&[u8], Address, &[u8]); 16] = [
        // mov [rax], cl
        (&[0x88, 0x08], address(0, None, 0), &[0x88, 0x0E]),
        // mov [rdi-1], rsi: the scratch register is another one
        (&[0x48, 0x89, 0x77, 0xFF], address(7, None, -1), &[0x48, 0x89, 0x37]),
        // mov [r13+r12*8+0x11223344], r9
        (
            &[0x4F, 0x89, 0x8C, 0xE5, 0x44, 0x33, 0x22, 0x11],
            address(13, Some((12, 3)), 0x1122_3344),
            &[0x4C, 0x89, 0x0E],
        ),
        // mov [rsp+8], ah: no prefix comes in, with which it would be another register
        (&[0x88, 0x64, 0x24, 0x08], address(4, None, 8), &[0x88, 0x26]),
        // mov dword [rip-8], 5
        (&[0xC7, 0x05, 0xF8, 0xFF, 0xFF, 0xFF, 5, 0, 0, 0], next, &[0xC7, 0x06, 5, 0, 0, 0]),
        // mov byte [0x1000], 5
        (&[0xC6, 0x04, 0x25, 0, 0x10, 0, 0, 5], nothing, &[0xC6, 0x06, 5]),
        // mov word [rbx], 0x0102
        (&[0x66, 0xC7, 0x03, 2, 1], address(3, None, 0), &[0x66, 0xC7, 0x06, 2, 1]),
        // lock cmpxchg [rbx], r14
        (&[0xF0, 0x4C, 0x0F, 0xB1, 0x33], address(3, None, 0), &[0xF0, 0x4C, 0x0F, 0xB1, 0x37]),
        // movdqu [r8+r9], xmm11
        (&[0xF3, 0x47, 0x0F, 0x7F, 0x1C, 0x08], address(8, Some((9, 0)), 0), &[0xF3, 0x44, 0x0F, 0x7F, 0x1E]),
        // vmovdqu [rcx], ymm9
        (&[0xC5, 0x7E, 0x7F, 0x09], address(1, None, 0), &[0xC5, 0x7E, 0x7F, 0x0E]),
        // vmovdqu [r9], ymm1
        (&[0xC4, 0xC1, 0x7E, 0x7F, 0x09], address(9, None, 0), &[0xC4, 0xE1, 0x7E, 0x7F, 0x0E]),
        // vextracti128 [r10], ymm1, 1
        (&[0xC4, 0xC3, 0x7D, 0x39, 0x0A, 1], address(10, None, 0), &[0xC4, 0xE3, 0x7D, 0x39, 0x0E, 1]),
        // vmovdqu64 [r8+64], zmm17: the displacement counts vectors
        (
            &[0x62, 0xC1, 0xFE, 0x48, 0x7F, 0x48, 0x01],
            address(8, None, 64),
            &[0x62, 0xE1, 0xFE, 0x48, 0x7F, 0x0E],
        ),
        // vpmovqb [rax+16], zmm1: it counts eighths of vectors
        (
            &[0x62, 0xF2, 0x7E, 0x48, 0x32, 0x48, 0x02],
            address(0, None, 16),
            &[0x62, 0xF2, 0x7E, 0x48, 0x32, 0x0E],
        ),
        // fstp tbyte [rdx]
        (&[0xDB, 0x3A], address(2, None, 0), &[0xDB, 0x3E]),
        // setc [rbp]
        (&[0x0F, 0x92, 0x45, 0x00], address(5, None, 0), &[0x0F, 0x92, 0x06]),
    ];
    for (bytes, address, code) in cases {
        let store = read(bytes).unwrap_or_else(|| panic!("{bytes:x?} is known"));
        assert_eq!(store.address, address, "{bytes:x?}");
        assert_eq!(store.code[..code.len()], *code, "{bytes:x?}");
        assert_eq!(store.code[code.len()], RETURN, "{bytes:x?}");
    }
}

#[test]
fn strings_and_scatters_say_what_they_move() {
    let store = read(&[0xF3, 0x48, 0xAB]).unwrap();
    assert_eq!((store.kind, store.size, store.repeated), (Kind::Fill, 8, true));
    let store = read(&[0x66, 0xA5]).unwrap();
    assert_eq!((store.kind, store.size, store.repeated), (Kind::Copy, 2, false));
    // vscatterdpd [r8+ymm20], zmm31 {k1}
    let store = read(&[0x62, 0x42, 0xFD, 0x41, 0xA2, 0x3C, 0x20]).unwrap();
    let scatter = Scatter { data: 31, indices: 20, mask: 1, index_size: 4, elements: 8 };
    assert_eq!((store.kind, store.size, store.scatter), (Kind::Scatter, 8, scatter));
    assert_eq!(store.address, address(8, None, 0));
}

#[test]
fn what_is_not_known_is_left_alone() {
    let cases: [&[u8]; 9] = [
        // A load, a comparison, a register, `push`, `bts` with a register, the stack pointer's value.
        &[0x8B, 0x00],
        &[0x38, 0x00],
        &[0x88, 0xC0],
        &[0xFF, 0x30],
        &[0x0F, 0xAB, 0x08],
        &[0x48, 0x89, 0x20],
        // By way of a segment, by 32 bits, by way of newer prefixes.
        &[0x64, 0x88, 0x00],
        &[0x67, 0x88, 0x00],
        &[0xD5, 0x00, 0x88, 0x00],
    ];
    for bytes in cases {
        assert_eq!(read(bytes), None, "{bytes:x?}");
    }
}
