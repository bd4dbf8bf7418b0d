//! The module that a program can import `watch` from, as files.

use super::options::Language;

const PYTHON: &[(&str, &str)] = &[("tickfs.py", include_str!("../shims/python/package/tickfs.py"))];
const NODE: &[(&str, &str)] = &[
    ("node_modules/tickfs/index.cjs", include_str!("../shims/node/package/index.cjs")),
    ("node_modules/tickfs/index.mjs", include_str!("../shims/node/package/index.mjs")),
    ("node_modules/tickfs/index.d.ts", include_str!("../shims/node/package/index.d.ts")),
    ("node_modules/tickfs/package.json", include_str!("../shims/node/package/package.json")),
];

/// Its files, below the directory that it is to be found from.
#[must_use]
pub fn module_files(language: Language) -> Vec<(&'static str, String)> {
    let files = match language {
        Language::Python => PYTHON,
        Language::JavaScript => NODE,
    };
    let own = |text: &str| text.replace("VERSION", env!("CARGO_PKG_VERSION"));
    files.iter().map(|&(name, text)| (name, own(text))).collect()
}
