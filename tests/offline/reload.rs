//! `provisionerd reload`, where no daemon may be signalled.

use std::fs;

use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::state_dir::StateDir;

use super::{run, text};

#[test]
fn nobody_is_signalled_but_a_daemon_that_has_said_that_it_reloads() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("state");
    let config = dir.path().join("provisioner.toml");
    let keys = "key-name = \"provisioner-test-1\"";
    let aws = "[aws]\nregion = \"us-west-2\"\naccount-id = \"123456789012\"";
    let state = format!("[provisioner]\n{keys}\nstate-dir = \"{}\"\n{aws}\n", root.display());
    fs::write(&config, state).expect("a configuration");
    let config = config.to_str().expect("UTF-8");
    let refused = || {
        let output = run(&["--config", config, "reload"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("no daemon that reloads was found"));
    };
    refused();

    // This process holds the lock, as `cleanup-aws` would. SIGHUP would end it, and this test.
    let key_name = KeyName::parse("provisioner-test-1").expect("a key-name");
    let state_dir = StateDir::locate(Some(&root), "123456789012", "us-west-2", &key_name);
    let locked = state_dir.and_then(|state_dir| state_dir.lock()).expect("the lock");
    refused();
    // A daemon before it left its record.
    let record = "{\"version\":1,\"reload\":{\"pid\":1,\"last\":null}}";
    fs::write(locked.dir().path().join("last-reload.json"), record).expect("a record");
    refused();

    fs::write(config, "no toml").expect("a configuration");
    let output = run(&["--config", config, "reload"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("provisioner.toml:1"), "{}", text(&output.stderr));
}
