use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(text: Option<&str>) -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        if let Some(text) = text {
            fs::write(scene.path(), text).unwrap();
        }
        scene
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("provisioner.toml")
    }

    fn open(&self) -> ConfigFile {
        ConfigFile::open(&self.path()).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn key(name: &str) -> KeyName {
    KeyName::parse(name).unwrap()
}

fn retired(name: &str) -> RetiredKeyName {
    RetiredKeyName {
        key_name: key(name),
        region: "us-west-2".to_owned(),
        account_id: Some("012345678901".to_owned()),
    }
}

/// Applies an edit to a text, without a save.
fn edited(text: &str, edit: impl FnOnce(&mut ConfigFile) -> Result<(), EditError>) -> String {
    let mut file = Scene::new(Some(text)).open();
    edit(&mut file).unwrap();
    file.text().to_owned()
}

fn set(file: &mut ConfigFile) -> Result<(), EditError> {
    file.set_key_name(&key("k-1"), "us-west-2", "012345678901")
}

#[test]
fn a_new_file_gets_what_is_saved() {
    let scene = Scene::new(None);
    let mut file = scene.open();
    assert!(!file.exists());
    file.ensure_writable().unwrap();
    assert_eq!(scene.files(), 0, "the check leaves nothing");
    set(&mut file).unwrap();
    file.save().unwrap();
    assert_eq!(
        scene.text(),
        "[provisioner]\nkey-name = \"k-1\"\n\n\
         [aws]\nregion = \"us-west-2\"\naccount-id = \"012345678901\"\n"
    );
    let mode = fs::metadata(scene.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o644, 0, "never wider than 0644");
    assert_eq!(scene.files(), 1);
    let saved = scene.open().saved().unwrap();
    assert_eq!(saved.key_name, Some(key("k-1")));
    assert_eq!(saved.region.as_deref(), Some("us-west-2"));
    assert_eq!(saved.account_id.as_deref(), Some("012345678901"));
    assert_eq!((saved.retired, saved.iam_instance_profile), (Vec::new(), None));
}

#[test]
fn comments_order_and_blank_lines_stay() {
    let before = "# Ours.\n\n[queue]\nhost  =  'q' # odd\n\n\n[provisioner] # main\n# about it\n\
                  interval = \"10s\"   # ten\n# last\n\n[aws]\n# where\nregion='eu-west-1' # old\n\
                  # the end";
    let after = "# Ours.\n\n[queue]\nhost  =  'q' # odd\n\n\n[provisioner] # main\n# about it\n\
                 interval = \"10s\"   # ten\nkey-name = \"k-1\"\n# last\n\n[aws]\n# where\n\
                 region=\"us-west-2\" # old\naccount-id = \"012345678901\"\n# the end";
    assert_eq!(edited(before, set), after);
}

#[test]
fn removing_takes_the_keys_and_nothing_else() {
    let before = "# top\n[provisioner]\n# ours\nkey-name = \"k-1\" # required to run\n\
                  retired = [\n  { key-name = \"k-0\", region = \"r\" }, # old\n]\nstrays = \"keep\"\n\
                  [aws]\nregion = \"us-west-2\"\naccount-id = 12345678901\n\
                  [worker-defaults]\niam-instance-profile = \"k-1\"\n";
    let after = "# top\n[provisioner]\n# ours\n# required to run\nstrays = \"keep\"\n\
                 [aws]\nregion = \"us-west-2\"\n[worker-defaults]\n";
    let with_profile = |profile: &'static str| {
        edited(before, move |file| {
            file.remove_key_names(|_, _| true)?;
            file.remove_iam_instance_profile(profile)
        })
    };
    assert_eq!(with_profile("k-1"), after);
    let kept = with_profile("another");
    assert!(kept.ends_with("[worker-defaults]\niam-instance-profile = \"k-1\"\n"));

    // A key-name of which something may be left stays, and so does its account.
    let old = edited(before, |file| file.remove_key_names(|name, _| name.as_str() == "k-0"));
    assert!(old.contains("key-name = \"k-1\"") && old.contains("account-id"), "{old}");
    assert!(!old.contains("k-0"), "{old}");
    let elsewhere = edited(before, |file| file.remove_key_names(|_, region| region == Some("r")));
    assert_eq!(elsewhere, old);
    let none = edited(before, |file| {
        file.remove_key_names(|_, _| false)?;
        assert!(!file.is_edited());
        Ok(())
    });
    assert_eq!(none, before);
}

#[test]
fn windows_line_ends_and_byte_order_marks_stay() {
    let before = "\u{feff}[provisioner]\r\nstrays = \"keep\"\r\n\r\n[aws]\r\n";
    let with = edited(before, set);
    assert_eq!(
        with,
        "\u{feff}[provisioner]\r\nstrays = \"keep\"\r\nkey-name = \"k-1\"\r\n\r\n[aws]\r\n\
         region = \"us-west-2\"\r\naccount-id = \"012345678901\"\r\n"
    );
    let without = edited(&with, |file| file.remove_key_names(|_, _| true));
    assert_eq!(without, format!("{before}region = \"us-west-2\"\r\n"));
}

#[test]
fn dotted_and_inline_tables_are_edited_as_they_are() {
    let dotted = "provisioner.strays = \"keep\"\naws.profile = \"p\"\nqueue.host = \"q\"\n";
    let with = edited(dotted, set);
    assert_eq!(
        with,
        "provisioner.strays = \"keep\"\nprovisioner.key-name = \"k-1\"\naws.profile = \"p\"\n\
         aws.region = \"us-west-2\"\naws.account-id = \"012345678901\"\nqueue.host = \"q\"\n"
    );
    let inline = "provisioner = { strays = \"keep\" }\naws = {}\n";
    let with = edited(inline, set);
    assert_eq!(
        with,
        "provisioner = { strays = \"keep\", key-name = \"k-1\" }\n\
         aws = { region = \"us-west-2\", account-id = \"012345678901\" }\n"
    );
    let without = edited(&with, |file| file.remove_key_names(|_, _| true));
    assert_eq!(without, "provisioner = { strays = \"keep\" }\naws = { region = \"us-west-2\" }\n");
}

#[test]
fn a_table_known_only_by_its_subtables_gets_a_header() {
    let before = "[worker-defaults.tags]\nteam = \"ci\"";
    let after = edited(before, |file| file.set_iam_instance_profile("k-1"));
    assert_eq!(
        after,
        "[worker-defaults.tags]\nteam = \"ci\"\n\n[worker-defaults]\niam-instance-profile = \"k-1\"\n"
    );
}

#[test]
fn key_names_are_retired_in_every_layout() {
    let entry = "{ key-name = \"k-1\", region = \"us-west-2\", account-id = \"012345678901\" }";
    for (before, after) in [
        ("[provisioner]\n", format!("[provisioner]\nretired = [{entry}]\n")),
        ("[provisioner]\nretired = []\n", format!("[provisioner]\nretired = [{entry}]\n")),
        (
            "[provisioner]\nretired = [\n  { key-name = \"k-0\", region = \"r\" }, # c\n]\n",
            format!(
                "[provisioner]\nretired = [\n  {{ key-name = \"k-0\", region = \"r\" }}, {entry}, # c\n]\n"
            ),
        ),
        (
            "[[provisioner.retired]]\nkey-name = \"k-0\"\nregion = \"r\"\n[aws]\n",
            "[[provisioner.retired]]\nkey-name = \"k-0\"\nregion = \"r\"\n\n\
             [[provisioner.retired]]\nkey-name = \"k-1\"\nregion = \"us-west-2\"\n\
             account-id = \"012345678901\"\n[aws]\n"
                .to_owned(),
        ),
    ] {
        let once = edited(before, |file| file.retire(&retired("k-1")));
        assert_eq!(once, after);
        assert_eq!(edited(&once, |file| file.retire(&retired("k-1"))), after, "only once");
        let gone = edited(&once, |file| file.remove_key_names(|_, _| true));
        assert!(!gone.contains("k-0") && !gone.contains("k-1"), "{gone}");
    }
}

#[test]
fn what_cannot_be_edited_is_refused_and_left() {
    for text in ["provisioner = 1\n", "[[provisioner]]\nx = 1\n", "[provisioner.key-name]\nx = 1\n"]
    {
        let mut file = Scene::new(Some(text)).open();
        let error = set(&mut file).unwrap_err();
        assert!(matches!(error, EditError::Layout { .. }), "{error}");
        assert_eq!(file.text(), text);
    }
    let scene = Scene::new(Some("a = 1\nb =\n"));
    let error = ConfigFile::open(&scene.path()).unwrap_err().to_string();
    assert!(error.contains("provisioner.toml:2: broken TOML"), "{error}");
}

#[test]
fn saved_values_of_the_wrong_type_are_named() {
    for (text, key) in [
        ("[provisioner]\nkey-name = 1\n", "provisioner.key-name: expected a string"),
        ("[provisioner]\nkey-name = 'a b'\n", "provisioner.key-name: `a b` is not a valid"),
        ("[provisioner]\nretired = [1]\n", "provisioner.retired: expected an array of tables"),
        ("[provisioner]\nretired = [{}]\n", "provisioner.retired[0].key-name: is required"),
        ("aws = 1\n", "aws: expected a table"),
    ] {
        let error = Scene::new(Some(text)).open().saved().unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn permissions_stay_and_no_scratch_file_is_left() {
    for mode in [0o600, 0o640, 0o644, 0o664] {
        let scene = Scene::new(Some("[aws]\n"));
        fs::set_permissions(scene.path(), Permissions::from_mode(mode)).unwrap();
        let mut file = scene.open();
        file.ensure_writable().unwrap();
        set(&mut file).unwrap();
        file.save().unwrap();
        assert_eq!(fs::metadata(scene.path()).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(scene.files(), 1);
    }
}

#[test]
fn a_symlink_stays_and_its_target_is_replaced() {
    let scene = Scene::new(None);
    let target = scene.dir.path().join("real.toml");
    symlink("real.toml", scene.path()).unwrap();
    for round in ["made", "replaced"] {
        let mut file = scene.open();
        file.set_iam_instance_profile(round).unwrap();
        file.save().unwrap();
        assert!(fs::symlink_metadata(scene.path()).unwrap().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains(round));
    }
}

#[test]
fn a_file_changed_meanwhile_is_not_overwritten() {
    let scene = Scene::new(Some("[aws]\n"));
    let mut file = scene.open();
    set(&mut file).unwrap();
    fs::write(scene.path(), "[queue]\n").unwrap();
    assert!(matches!(file.save(), Err(EditError::Changed { .. })));
    assert_eq!((scene.text().as_str(), scene.files()), ("[queue]\n", 1));
}

#[test]
fn one_file_can_be_saved_twice() {
    let scene = Scene::new(Some("[aws]\n"));
    let mut file = scene.open();
    set(&mut file).unwrap();
    file.save().unwrap();
    file.remove_key_names(|_, _| true).unwrap();
    file.save().unwrap();
    assert_eq!(scene.text(), "[aws]\nregion = \"us-west-2\"\n\n[provisioner]\n");
}

#[test]
fn what_cannot_be_written_is_known_before() {
    let scene = Scene::new(None);
    let absent = scene.dir.path().join("absent/provisioner.toml");
    let error = ConfigFile::open(&absent).unwrap().ensure_writable().unwrap_err().to_string();
    assert!(error.contains("absent/provisioner.toml: create its directory"), "{error}");
    let directory = ConfigFile::open(scene.dir.path()).unwrap_err();
    assert!(matches!(directory, EditError::Read { .. }), "{directory}");
}

proptest! {
    #[test]
    fn setting_and_removing_gives_back_every_byte(
        tables in prop::collection::vec(("[a-z]{1,6}", prop::collection::vec("[a-z]{1,4}", 0..3)), 0..3),
        order in Just(["provisioner", "aws", "worker-defaults"].to_vec()).prop_shuffle(),
        gaps in prop::collection::vec("(\n| ?# [a-zé=\\[\\]\"]{0,8}\n){0,2}", 12),
        tail in " {0,2}(# [a-z]{0,4})?",
        windows in any::<bool>(),
        ends in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut gaps = gaps.into_iter().cycle();
        let mut gap = || gaps.next().unwrap_or_default();
        let own = order.into_iter().map(|name| (name.to_owned(), vec!["x".to_owned()]));
        let others = tables.into_iter().enumerate().map(|(n, (name, keys))| (format!("{name}-{n}"), keys));
        for (name, keys) in own.chain(others) {
            write!(text, "{}[{name}]{tail}\n{}", gap(), gap()).unwrap();
            for (n, key) in keys.iter().enumerate() {
                write!(text, "{key}-{n} = [\n 1 ]{tail}\n{}", gap()).unwrap();
            }
        }
        if !ends {
            text.truncate(text.trim_end_matches('\n').len());
        }
        if windows {
            text = text.replace('\n', "\r\n");
        }
        let mut file = Scene::new(Some(&text)).open();
        file.set_key_name(&key("k-1"), "r", "012345678901").unwrap();
        file.retire(&retired("k-0")).unwrap();
        file.set_iam_instance_profile("k-1").unwrap();
        prop_assert_eq!(file.saved().unwrap().retired, vec![retired("k-0")]);
        file.remove_key_names(|_, _| true).unwrap();
        file.remove_iam_instance_profile("k-1").unwrap();
        file.remove("aws", "region").unwrap();
        prop_assert_eq!(file.text(), text);
    }
}
