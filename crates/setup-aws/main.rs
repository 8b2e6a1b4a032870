//! Creates a unique key-name and its EC2 key pair, and saves both in the local configuration.

fn main() -> std::process::ExitCode {
    provisioner_cli::setup_aws()
}
