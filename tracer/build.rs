//! Builds the libraries that run inside the traced program, to be carried in the binary.
//!
//! They are made from the standard library alone, by the compiler that builds this package: no headers of Python or Node,
//! no bindgen, no second cargo.

use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=src/sys");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let (compiler, target, out) = (var("RUSTC"), var("TARGET"), var("OUT_DIR"));
    for language in ["python", "node", "preload"] {
        let mut command = Command::new(&compiler);
        command.args(["--edition", "2024", "--crate-type", "cdylib", "--target", &target]);
        command.args([
            "-C",
            "opt-level=3",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
            "-C",
            "codegen-units=1",
        ]);
        command.args(["--crate-name", &format!("tickfs_{language}_agent")]);
        command.arg("-o").arg(Path::new(&out).join(format!("{language}.so")));
        command.arg(format!("src/sys/agent/{language}.rs"));
        if let Ok(linker) = std::env::var("RUSTC_LINKER") {
            command.arg(format!("-Clinker={linker}"));
        }
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                println!("cargo::error=the agent for {language} could not be built: {status}");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                println!("cargo::error={compiler} cannot be run: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
