//! Both Containerfiles match the workspace: the one that builds the programs, and the one of an existing build.

use super::{is_a_key, read};
use crate::args::Program;

const FILE: &str = "Containerfile";
const OF_A_BUILD: &str = "packaging/Containerfile";

/// Returns the arguments of every instruction of a name.
fn instructions<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

#[test]
fn it_builds_with_the_oldest_toolchain_that_is_supported() {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let wanted = format!("docker.io/library/rust:{}-", version.trim_matches('"'));
    let text = read(FILE);
    let builder = instructions(&text, "FROM")[0];
    assert!(builder.starts_with(&wanted), "{builder} is not {wanted}…");
    let build = instructions(&text, "RUN").join("\n");
    assert!(build.contains("cargo build --release --locked"), "{build}");
}

#[test]
fn it_has_the_three_programs_and_runs_the_daemon() {
    let text = read(FILE);
    let copied = instructions(&text, "COPY").join("\n");
    for program in Program::ALL {
        assert!(copied.contains(&format!("/target/release/{}", program.name())), "{copied}");
    }
    assert_eq!(instructions(&text, "ENTRYPOINT"), [r#"["/usr/local/bin/provisionerd"]"#]);
    assert_eq!(instructions(&text, "CMD"), [r#"["run"]"#]);
    let of_a_build = read(OF_A_BUILD);
    assert_eq!(instructions(&of_a_build, "ENTRYPOINT"), [r#"["/usr/bin/provisionerd"]"#]);
    assert_eq!(instructions(&of_a_build, "CMD"), [r#"["run"]"#]);
}

#[test]
fn the_user_is_not_root_and_the_state_is_on_a_volume() {
    for (file, source) in [(FILE, "/state"), (OF_A_BUILD, "var/lib/provisioner")] {
        user_and_volume(&read(file), source);
    }
}

fn user_and_volume(text: &str, source: &str) {
    let user = instructions(text, "USER").pop().unwrap().to_owned();
    // Kubernetes needs a number to see that the user is not root.
    let ids = user.split(':').map(|id| id.parse::<u32>().unwrap()).collect::<Vec<_>>();
    assert!(ids.iter().all(|id| *id > 0), "{user}");
    let (variable, state_dir) = instructions(text, "ENV")[0].split_once('=').unwrap();
    assert_eq!(variable, "PROVISIONER__PROVISIONER__STATE_DIR");
    assert!(is_a_key(variable));
    assert_eq!(instructions(text, "VOLUME"), [format!("[\"{state_dir}\"]")]);
    let copied = instructions(text, "COPY").join("\n");
    assert!(copied.contains(&format!("--chown={user} {source} {state_dir}")), "{copied}");
}

/// Docker and Podman read different files.
#[test]
fn both_builders_ignore_the_same_files() {
    let left_out = read(".containerignore");
    assert_eq!(left_out, read(".dockerignore"));
    for private in ["*.pem", "/provisioner.toml", "target", ".git"] {
        assert!(left_out.lines().any(|line| line == private), "{private}");
    }
}
