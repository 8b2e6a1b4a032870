//! The daemon: watches a task queue and keeps the EC2 capacity that its tasks need.

fn main() -> std::process::ExitCode {
    provisioner_cli::provisionerd()
}
