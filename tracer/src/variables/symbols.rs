//! What the numbers in records mean: variables, places in the code, queries.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use serde::Deserialize;
use serde_json::value::RawValue;
use tickfs_store::runs::{Value, VariableFacts};

use super::event::End;

/// What the shim says beside values.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The program is attached to the ring; its process.
    Attached(u32),
    Variable(Declared),
    Sites(String, Vec<(u32, String, u32)>),
    Query {
        id: u32,
        context: Box<RawValue>,
    },
    /// How raw writes are seen.
    Memory(Memory),
    /// A variable's memory is no longer watched, because of the instruction at this address.
    GivenUp(u32, String),
    /// A variable of a function that is watched and not traced.
    Untraced(u32),
    /// Its object is no more: no change of it comes after this.
    Ended(u32),
    /// The script has no `main`.
    NoMain {},
    Note(String),
    /// The program cannot be run as it is; nothing of it has run.
    Invalid(String),
}

/// What this system lets the tracer see of memory.
#[derive(Debug, Deserialize)]
pub(super) struct Memory {
    /// The mode that is used, which need not be the one that was asked for.
    pub(super) mode: String,
    pub(super) raw: String,
    pub(super) kernel: String,
    /// Why it is off.
    pub(super) why: Option<String>,
}

/// A call of `watch`.
#[derive(Debug, Deserialize)]
pub(super) struct Declared {
    pub(super) id: u32,
    name: String,
    file: String,
    scope: Option<String>,
    depth: Option<u64>,
    threads: bool,
    sql: bool,
}

/// One call of `watch`, which has a value of its own: a function that runs twice at once has two.
#[derive(Debug)]
pub(super) struct Instance {
    /// The number of its variable; several calls of the same place and name are one variable.
    pub(super) variable: u32,
    /// `None` before its first value.
    pub(super) value: Option<Value>,
    pub(super) depth: Option<u64>,
    pub(super) threads: bool,
    pub(super) sql: bool,
}

/// A variable, and how it is spelled in events.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) facts: VariableFacts,
    /// `"variable_id":…,"variable_name":…,`
    pub(super) names: String,
    /// JSON.
    pub(super) scope: String,
    /// How its events end where neither threads nor queries are told of.
    pub(super) end: Vec<u8>,
    /// The store knows it.
    pub(super) kept: bool,
}

#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub(super) instances: ByNumber<Instance>,
    pub(super) variables: Vec<Variable>,
    by_name: HashMap<(String, String), u32>,
    keys: HashSet<String>,
    /// `"function":…,"file":…,"line":…,"deltas":`
    sites: ByNumber<String>,
    queries: ByNumber<Box<RawValue>>,
}

/// By numbers that the shim counts up: they need no strong hash, and are looked up for each event.
pub(super) type ByNumber<T> = HashMap<u32, T, BuildHasherDefault<Spread>>;

#[derive(Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // Odd, so that numbers in a row lie in a row; the high bits are those that tell neighbours apart.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

impl Symbols {
    pub(super) fn declare(&mut self, said: Declared, depth: Option<u64>) {
        let depth = said.depth.into_iter().chain(depth).min();
        let (id, threads, sql) = (said.id, said.threads, said.sql);
        let variable = self.variable_of(said);
        self.instances.insert(id, Instance { variable, value: None, depth, threads, sql });
    }

    fn variable_of(&mut self, said: Declared) -> u32 {
        let place = (said.file, said.name);
        if let Some(&known) = self.by_name.get(&place) {
            return known;
        }
        let (file, name) = place.clone();
        let number = u32::try_from(self.variables.len() + 1).unwrap_or(u32::MAX);
        let mut key = name.clone();
        let mut next = 2;
        while !self.keys.insert(key.clone()) {
            key = format!("{name}_{next}");
            next += 1;
        }
        let scope = said.scope.as_deref().map_or_else(|| "null".to_owned(), quoted);
        let facts = VariableFacts { id: number, name, key, file, scope: said.scope };
        let names = format!(
            "\"variable_id\":{},\"variable_name\":{},",
            quoted(&facts.variable_id()),
            quoted(&facts.name)
        );
        let mut end = Vec::new();
        End::Of { thread: None, sql: "null", scope: &scope }.write(&mut end);
        self.variables.push(Variable { facts, names, scope, end, kept: false });
        self.by_name.insert(place, number);
        number
    }

    pub(super) fn variable(&mut self, number: u32) -> Option<&mut Variable> {
        self.variables.get_mut(number as usize - 1)
    }

    pub(super) fn sites(&mut self, file: &str, sites: Vec<(u32, String, u32)>) {
        let file = quoted(file);
        for (id, function, line) in sites {
            let function = quoted(&function);
            let spelled = format!("\"function\":{function},\"file\":{file},\"line\":{line},\"deltas\":");
            self.sites.insert(id, spelled);
        }
    }

    /// Site 0 is a change that no hook saw.
    pub(super) fn site(&self, id: u32) -> &str {
        const UNSEEN: &str = r#""function":"<unseen>","file":"","line":0,"deltas":"#;
        self.sites.get(&id).map_or(UNSEEN, String::as_str)
    }

    pub(super) fn query(&mut self, id: u32, context: Box<RawValue>) {
        self.queries.insert(id, context);
    }

    pub(super) fn context(&self, id: u32) -> &str {
        self.queries.get(&id).map_or("null", |context| context.get())
    }
}
