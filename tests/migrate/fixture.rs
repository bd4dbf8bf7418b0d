//! Two months of an older store: about 17,000 mutations of some hundred entities, the same on every machine.
//!
//! It is made, not kept: the generator is the fixture, and a test pins the hash of all that it gives.

use tickfs_store::migrate::EntityId;

/// How many mutations there are.
const EVENTS: u64 = 17_000;
const KINDS: [&str; 5] = ["agent", "note", "plan", "session", "task"];
const WORDS: [&str; 12] = [
    "build",
    "check",
    "draft",
    "merge",
    "über",
    "\"quoted\"",
    "line\nbreak",
    "path/to",
    "%41",
    "retry",
    "0.50",
    "done",
];

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Put { entity: EntityId, json: String },
    Delete { entity: EntityId },
}

/// The mutations, in order.
pub(crate) fn events() -> impl Iterator<Item = Event> {
    let mut random = Random(17);
    (0..EVENTS).map(move |n| {
        let kind = KINDS[random.below(KINDS.len())];
        // Few entities are busy, many are seldom touched.
        let spread = random.below(60) + 1;
        let id = format!("{}_{:03}", &kind[..3], random.below(spread));
        let entity = EntityId::new(kind, &id).expect("because its name is plain");
        match random.below(40) {
            0 => Event::Delete { entity },
            _ => Event::Put { json: json(&mut random, n, &id), entity },
        }
    })
}

/// An entity of 0.5 to 4 KB.
fn json(random: &mut Random, n: u64, id: &str) -> String {
    let mut text =
        format!("{{\"id\":\"{id}\",\"revision\":{n},\"weight\":{}.{:02},\"log\":[", n % 7, n % 100);
    for line in 0..random.below(24) + 4 {
        let mut words = String::new();
        for _ in 0..random.below(16) + 1 {
            words.push_str(WORDS[random.below(WORDS.len())]);
            words.push(' ');
        }
        let comma = if line == 0 { "" } else { "," };
        let escaped = serde_json::Value::from(words);
        text.push_str(&format!("{comma}{{\"at\":{},\"text\":{escaped}}}", n * 100 + line as u64));
    }
    text.push_str("]}");
    text
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
