//! Terminates and deletes everything tied to the key-name, and verifies that it is gone.

fn main() -> std::process::ExitCode {
    provisioner_cli::cleanup_aws()
}
