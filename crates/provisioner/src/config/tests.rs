//! The rules of the configuration, through [`load`].

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::domain::ids::WorkerTypeName;
use crate::domain::user_data::UserData;
use crate::settings::{AskRunning, Limits, Strays, WorkerType};

/// A directory that is current directory, home and machine in one.
struct Scene {
    dir: tempfile::TempDir,
    sources: Sources,
}

const TYPE: &str = "[worker-types.linux]\nimage-id = 'ami-1'\ninstance-types = ['c7g.large']\n";

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = Sources::new(dir.path());
        sources.system_file = dir.path().join("etc.toml");
        let home = dir.path().join("home").to_str().unwrap().to_owned();
        sources.environment.insert("XDG_CONFIG_HOME".to_owned(), home);
        Self { dir, sources }
    }

    fn with(text: &str) -> Self {
        Self::new().file("provisioner.toml", text)
    }

    fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        self
    }

    fn env(mut self, variable: &str, value: &str) -> Self {
        self.sources.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, flag: &str, key: &str, value: &str) -> Self {
        let [key, value, flag] = [key, value, flag].map(str::to_owned);
        self.sources.overrides.push(Override { key, value, flag });
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self) -> String {
        load(&self.sources).unwrap_err().to_string()
    }
}

fn worker_type(loaded: &Loaded) -> &WorkerType {
    &loaded.settings.worker_types[&WorkerTypeName::parse("linux").unwrap()]
}

fn entry<'a>(loaded: &'a Loaded, key: &str) -> (&'a serde_json::Value, String) {
    let entry =
        loaded.entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("{key}"));
    (&entry.value, entry.origin.to_string())
}

/// The error of one worker type with some more lines; they begin at line 4.
fn type_error(lines: &str) -> String {
    Scene::with(&format!("{TYPE}{lines}")).error()
}

#[test]
fn nothing_at_all_is_the_defaults() {
    let loaded = Scene::new().load();
    let Settings { provisioner, limits, aws, queue, server, worker_types, retired_max_lifetime } =
        &loaded.settings;
    assert_eq!(provisioner.key_name, None);
    assert_eq!(provisioner.interval, Duration::from_secs(10));
    assert_eq!(provisioner.min_interval, Duration::from_secs(1));
    assert_eq!(provisioner.strays, Strays::Terminate);
    assert_eq!(provisioner.visibility_window, Duration::from_mins(5));
    assert_eq!((provisioner.max_failed_rounds, provisioner.adopt_key_name), (0, false));
    assert_eq!((&provisioner.state_dir, &provisioner.provisioner_id), (&None, &None));
    assert_eq!(limits, &Limits::default());
    assert_eq!(aws, &crate::settings::Aws::default());
    assert_eq!(queue.base_url, "http://localhost:8314/0.1.0");
    assert_eq!(queue.running, AskRunning::Auto);
    assert_eq!(queue.worker_type_pointer, ["workerType"]);
    assert_eq!(queue.timeout, Duration::from_secs(10));
    assert_eq!(server.listen, Some("127.0.0.1:3000".parse().unwrap()));
    assert!(server.hosts.is_empty());
    assert!(worker_types.is_empty());
    assert_eq!(*retired_max_lifetime, Some(Duration::from_hours(24)));
    assert!(loaded.files_read.is_empty() && loaded.warnings.is_empty());
}

#[test]
fn a_worker_type_has_defaults() {
    let loaded = Scene::with(TYPE).load();
    let expected = WorkerType { image_id: "ami-1".to_owned(), ..WorkerType::example() };
    assert_eq!(worker_type(&loaded), &expected);
}

#[test]
fn a_text_is_read_like_a_file() {
    let text = "[worker-types.linux]\nimage-id = 'ami-0123456789abcdef0'\n\
                instance-types = ['c7g.large']\nuser-data-file = 'absent.sh'\n";
    let error = parse(text, Path::new("/somewhere")).unwrap_err();
    assert!(error.problems[0].message.contains("/somewhere/absent.sh"), "{error:?}");
    let (text, _) = text.split_once("user-data-file").unwrap();
    let loaded = parse(text, Path::new("/somewhere")).unwrap();
    assert_eq!(loaded.settings, Scene::with(text).load().settings);
    assert_eq!(loaded.files_read, [""; 0].map(PathBuf::from));
}

#[test]
fn the_sample_loads_and_shows_the_defaults() {
    let sample = include_str!("../../../../examples/provisioner.toml");
    let loaded = Scene::with(sample).load();
    let mut with_defaults = Scene::with(
        "[aws]\nregion = 'us-west-2'\n[limits]\nmax-instances = 50\nmax-usd-per-hour = 5\n\
         max-usd-per-day = 50\n[server]\nlisten = '127.0.0.1:3000'\n[worker-types.linux]\n\
         image-id = 'ami-0123456789abcdef0'\ninstance-types = ['c7g.large', 'c6g.large']\n\
         max-price = 0.1\ntags.team = 'ci'\n",
    )
    .load();
    assert_eq!(loaded.settings, with_defaults.settings);
    // Every key of the effective configuration is explained, commented out or not.
    with_defaults.entries.retain(|entry| !entry.key.contains("tags"));
    for Entry { key, .. } in with_defaults.entries {
        let name = key.rsplit('.').next().unwrap();
        let explained = sample.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{name} = ")) && line.contains("  # ")
        });
        assert!(explained, "{key}");
    }
}

#[test]
fn each_layer_beats_the_ones_below() {
    let port = |n: u16| format!("[queue]\nport = {n}\n");
    let mut scene = Scene::new();
    let mut check = |next: fn(Scene) -> Scene, expected: u16, origin: &str| {
        scene = next(std::mem::replace(&mut scene, Scene::new()));
        let loaded = scene.load();
        assert_eq!(loaded.settings.queue.base_url, format!("http://localhost:{expected}/0.1.0"));
        assert_eq!(entry(&loaded, "queue.port"), (&expected.into(), origin.to_owned()));
    };
    check(|scene| scene, 8314, "default");
    check(|scene| scene.file("etc.toml", "\n[queue]\nport = 1\n"), 1, "etc.toml:3");
    let user = "home/provisioner/provisioner.toml";
    check(
        |scene| scene.file("home/provisioner/provisioner.toml", "[queue]\nport = 2\n"),
        2,
        &format!("{user}:2"),
    );
    check(|scene| scene.file("provisioner.toml", "[queue]\nport = 3\n"), 3, "provisioner.toml:2");
    check(|scene| scene.env("PROVISIONER__QUEUE__PORT", "4"), 4, "PROVISIONER__QUEUE__PORT");
    check(|scene| scene.flag("--port", "queue.port", "5"), 5, "--port");
    let files = scene.load().files_read;
    let names = ["etc.toml", user, "provisioner.toml"].map(|name| scene.dir.path().join(name));
    assert_eq!(files, names);

    let mut scene = scene.file("explicit.toml", port(6));
    scene.sources.explicit_file = Some(PathBuf::from("explicit.toml"));
    scene.sources.overrides.clear();
    scene.sources.environment.clear();
    let loaded = scene.load();
    assert_eq!(loaded.files_read, [scene.dir.path().join("explicit.toml")]);
    assert_eq!(entry(&loaded, "queue.port"), (&6.into(), "explicit.toml:2".to_owned()));
}

#[test]
fn the_named_file_must_be_there() {
    let mut scene = Scene::with(TYPE);
    scene.sources.explicit_file = Some(PathBuf::from("absent.toml"));
    let error = scene.error();
    assert!(
        error.starts_with("absent.toml: cannot be read: ") && error.contains("--config"),
        "{error}"
    );
    scene.sources.explicit_file = Some(scene.dir.path().to_owned());
    assert!(scene.error().contains("cannot be read"));
}

#[test]
fn broken_files_are_all_reported_with_line_and_column() {
    let scene = Scene::with("[queue]\nport = = 1\n").file("etc.toml", "a = 'x\n");
    let error = scene.error();
    let lines = error.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("etc.toml:1:") && lines[0].contains("broken TOML"), "{error}");
    assert!(
        lines.iter().any(|line| line.starts_with("provisioner.toml:2:8: broken TOML")),
        "{error}"
    );
    let not_text = Scene::new().file("provisioner.toml", [0xff, 0xfe]).error();
    assert!(not_text.contains("UTF-8"), "{not_text}");
}

#[test]
fn an_unsafe_local_file_is_skipped_with_a_warning() {
    let scene = Scene::with("[queue]\nport = 1\n");
    let file = scene.dir.path().join("provisioner.toml");
    for mode in [0o664, 0o646, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let loaded = scene.load();
        assert_eq!(loaded.settings.queue.base_url, "http://localhost:8314/0.1.0");
        assert!(loaded.files_read.is_empty());
        let warning = loaded.warnings[0].to_string();
        assert!(
            warning.contains(file.to_str().unwrap()) && warning.contains("chmod go-w"),
            "{warning}"
        );
        assert_eq!(lookup::skipped_local_file(scene.dir.path()), Some(loaded.warnings[0].clone()));
    }
    // Named, it is the user's decision.
    let mut scene = scene;
    scene.sources.explicit_file = Some(file);
    assert_eq!(scene.load().settings.queue.base_url, "http://localhost:1/0.1.0");
}

#[test]
fn a_skipped_file_is_mentioned_beside_the_errors() {
    let scene = Scene::with(TYPE).env("PROVISIONER__QUEUE__PORT", "x");
    let file = scene.dir.path().join("provisioner.toml");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(load(&scene.sources).unwrap_err().warnings.len(), 1);
}

#[test]
fn unknown_keys_are_errors_at_every_level() {
    let text = format!(
        "[provisoner]\n[queue]\nhots = 'a'\n{TYPE}max-instnces = 3\ncolour = 'red'\n\
         [worker-types.linux.launch-specification]\nEbsOptimised = true\n\
         BlockDeviceMappings = [{{ Ebs = {{ Size = 1 }} }}]\n"
    );
    let error = Scene::with(&text).error();
    let lines = error.lines().collect::<Vec<_>>();
    assert_eq!(
        lines[0],
        "provisioner.toml:1: provisoner: unknown key (did you mean `provisioner`?)"
    );
    assert_eq!(lines[1], "provisioner.toml:3: queue.hots: unknown key (did you mean `host`?)");
    assert_eq!(
        lines[2],
        "provisioner.toml:7: worker-types.linux.max-instnces: unknown key (did you mean `max-instances`?)"
    );
    assert!(lines[3].starts_with(
        "provisioner.toml:8: worker-types.linux.colour: unknown key (known: aliases, availability-zones"
    ));
    assert_eq!(
        lines[4],
        "provisioner.toml:10: worker-types.linux.launch-specification.EbsOptimised: unknown key \
         (did you mean `EbsOptimized`?)"
    );
    assert!(lines[5].starts_with(
        "provisioner.toml:11: worker-types.linux.launch-specification.BlockDeviceMappings[0].Ebs.Size: unknown key"
    ));
    assert_eq!(lines.len(), 6);
}

#[test]
fn wrong_types_name_the_key_and_the_fix() {
    for (text, expected) in [
        (
            "[queue]\nport = '1'",
            "provisioner.toml:2: queue.port: expected a whole number, found a string",
        ),
        (
            "[queue]\nport = 65536",
            "provisioner.toml:2: queue.port: 65536 is out of range (0 to 65535)",
        ),
        (
            "[queue]\nport = 0",
            "provisioner.toml:2: queue.port: port 0 cannot be connected to (1 to 65535)",
        ),
        (
            "[queue]\nhost = 1",
            "provisioner.toml:2: queue.host: expected a string, found an integer (put it in quotes)",
        ),
        ("queue = 1", "provisioner.toml:1: queue: expected a table, found an integer"),
        (
            "[provisioner]\ninterval = 10",
            "provisioner.toml:2: provisioner.interval: expected a duration, found an integer",
        ),
        (
            "[provisioner]\ninterval = '10'",
            "provisioner.toml:2: provisioner.interval: `10` is not a duration",
        ),
        (
            "[provisioner]\nadopt-key-name = 'yes'",
            "provisioner.adopt-key-name: expected true or false, found a string",
        ),
        (
            "[provisioner]\nstrays = 'kep'",
            "provisioner.strays: `kep` is not known (did you mean `keep`?)",
        ),
        ("[provisioner]\nkey-name = 'a b'", "provisioner.key-name: `a b` is not a valid key-name"),
        (
            "[provisioner]\nretired = ['x']",
            "provisioner.retired[0]: expected a table, found a string",
        ),
        (
            "[provisioner]\nretired = [{ region = 'r' }]",
            "provisioner.retired[0].key-name: is required",
        ),
        (
            "[provisioner]\nmax-failed-rounds = -1",
            "provisioner.max-failed-rounds: -1 is out of range",
        ),
        (
            "[limits]\nmax-usd-per-hour = -0.5",
            "limits.max-usd-per-hour: `-0.5` is not an amount in USD",
        ),
        (
            "[limits]\nmax-usd-per-day = '5'",
            "limits.max-usd-per-day: expected a number, found a string",
        ),
        ("[aws]\nregion = 'us west'", "aws.region: `us west` is not a region"),
        ("[aws]\nregion = 'a\\nb'", "aws.region"),
        ("[aws]\nregion = \"a\\nb\"", "aws.region: `a\\nb` is not a region"),
        ("[aws]\naccount-id = '123'", "aws.account-id: `123` is not an AWS account id"),
        ("[aws]\naccount-id = 1234567890123", "aws.account-id: `1234567890123` is not"),
        ("[aws]\nendpoint-url = 'localhost:1'", "aws.endpoint-url: not an http or https URL"),
        (
            "[queue]\nrunning = 'true'",
            "queue.running: expected \"auto\", true, or false (true and false without quotes)",
        ),
        (
            "[queue]\nworker-type-pointer = 'workerType'",
            "queue.worker-type-pointer: `workerType` is not a JSON pointer",
        ),
        ("[queue]\ntimeout = '0s'", "queue.timeout: must be longer than 0s"),
        ("[queue]\nhost = 'q/x'", "queue.host: not a host name"),
        ("[queue]\nhost = 'q:80'", "queue.host: not a host name"),
        ("[queue]\nhost = 'u:p@q'", "queue.host: not a host name"),
        (
            "[server]\nlisten = 'localhost:3000'",
            "server.listen: `localhost:3000` is not an IP address with a port",
        ),
        (
            "[server]\nworker-listen = 'localhost:3001'",
            "server.worker-listen: `localhost:3001` is not an IP address with a port",
        ),
        (
            "[server]\nworker-url = 'http://10.0.0.5:3001'",
            "server.worker-url: worker-url is set and worker-listen is not",
        ),
        (
            "[server]\nworker-listen = '0.0.0.0:3001'\nworker-url = 'ftp://x'",
            "server.worker-url: not an http or https URL",
        ),
        (
            "[worker-types.Linux]\nimage-id = 'ami-1'\ninstance-types = ['a.b']",
            "worker-types.Linux: `Linux` is not a valid worker-type name",
        ),
        ("[worker-types]\nlinux = 1", "worker-types.linux: expected a table, found an integer"),
    ] {
        let error = Scene::with(text).error();
        assert!(error.lines().any(|line| line.contains(expected)), "{expected}\n{error}");
    }
}

#[test]
fn wrong_values_of_worker_types_are_named() {
    for (line, expected) in [
        (
            "tasks-per-instance = 0",
            "linux.tasks-per-instance: an instance must run at least one task",
        ),
        ("max-price = -1", "linux.max-price: `-1` is not an amount"),
        ("max-price = 0", "linux.max-price: at 0 USD no request is ever fulfilled"),
        ("request-timeout = '0s'", "linux.request-timeout: must be longer than 0s"),
        ("boot-timeout = '0s'", "linux.boot-timeout: must be longer than 0s"),
        ("security-groups = [' sg-1']", "linux.security-groups[0]: ` sg-1` has white space"),
        ("availability-zones = ['us-west-2a ']", "linux.availability-zones[0]: `us-west-2a ` has"),
        ("iam-instance-profile = 'ci '", "linux.iam-instance-profile: `ci ` has white space"),
        (
            "iam-instance-profile = 'arn:aws:iam::123456789012:role/ci'",
            "linux.iam-instance-profile: `arn:aws:iam::123456789012:role/ci` is the ARN of a role, not of",
        ),
        ("subnets = ['vpc-1']", "linux.subnets[0]: `vpc-1` is not a subnet id"),
        ("subnets = 'subnet-1'", "linux.subnets: expected an array, found a string"),
        ("aliases = ['a', 1]", "linux.aliases[1]: expected a string, found an integer"),
        ("aliases = ['a', 'a']", "linux.aliases: `a` is listed twice"),
        ("policy = 'basics'", "linux.policy: `basics` is not known (did you mean `basic`?)"),
        ("launch = 'fleet'", "linux.launch: `fleet` is not known (known: spot-request)"),
        (
            "user-data = 'a'\nuser-data-file = 'b'",
            "linux.user-data: user-data and user-data-file are both set",
        ),
        ("user-data-file = 'absent'", "linux.user-data-file: "),
        (
            "tags = { 'provisioner:x' = '1' }",
            "linux.tags.\"provisioner:x\": tags that begin with `provisioner:` are reserved",
        ),
        ("tags = { 'AWS:x' = '1' }", "tags that begin with `aws:` are reserved"),
        ("tags = { a = 1 }", "linux.tags.a: expected a string"),
        (
            "launch-specification.Placement = { Tenancy = 'host' }",
            "Placement.Tenancy: `host` is not a tenancy",
        ),
        ("launch-specification.Monitoring = {}", "Monitoring.Enabled: is required"),
        (
            "launch-specification.NetworkInterfaces = [{ Groups = ['default'] }]",
            "NetworkInterfaces[0].Groups[0]: `default` is not a security group id",
        ),
        ("launch-specification.ImageId = 'ami-2'", "launch-specification.ImageId: unknown key"),
    ] {
        let error = type_error(line);
        assert!(
            error.contains(expected) && error.starts_with("provisioner.toml:"),
            "{expected}\n{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn white_space_around_an_id_is_another_id() {
    let text = "[worker-types.linux]\nimage-id = ' ami-1'\ninstance-types = ['c7g.large ']\n\
                subnets = [\"subnet-1\\n\"]\n[aws]\nprofile = 'ci '\n";
    let error = Scene::with(text).error();
    for expected in [
        "linux.image-id: ` ami-1` has white space around it (write \"ami-1\")",
        "linux.instance-types[0]: `c7g.large ` has white space around it (write \"c7g.large\")",
        "linux.subnets[0]: ",
        "aws.profile: `ci ` has white space around it",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}

#[test]
fn zones_are_those_of_the_region() {
    let text = |zones: &str| {
        format!("[aws]\nregion = 'us-west-2'\n{TYPE}availability-zones = [{zones}]\n")
    };
    assert!(Scene::with(&text("'us-west-2a', 'us-west-2-lax-1a'")).load().warnings.is_empty());
    let error = Scene::with(&text("'us-west-2a', 'eu-west-1a'")).error();
    assert!(error.contains("`eu-west-1a` is not a zone of the region `us-west-2`"), "{error}");
    let profile = "iam-instance-profile = 'arn:aws:iam::123456789012:instance-profile/ci'\n";
    assert!(Scene::with(&format!("{TYPE}{profile}")).load().warnings.is_empty());
}

#[test]
fn tags_have_their_limits() {
    let tag = |key: usize, value: usize| {
        type_error(&format!("tags = {{ {} = '{}', aws = 1 }}", "k".repeat(key), "v".repeat(value)))
    };
    assert!(tag(128, 1).contains("the tag's key has 128 characters (127 at most)"));
    assert!(tag(1, 256).contains("the tag's value has 256 characters (255 at most)"));
    assert_eq!(tag(127, 255).lines().count(), 1);
    let many = |n: usize| {
        let lines = (0..n).map(|n| format!("t{n} = ''")).collect::<Vec<_>>().join("\n");
        Scene::with(&format!("{TYPE}[worker-types.linux.tags]\n{lines}"))
    };
    assert_eq!(worker_type(&many(45).load()).tags.len(), 45);
    assert!(
        many(46)
            .error()
            .starts_with("provisioner.toml:4: worker-types.linux.tags: 46 tags are too many")
    );
}

#[test]
fn a_worker_type_needs_an_image_and_instance_types() {
    let error = Scene::with("\n[worker-types.linux]\n").error();
    let lines = error.lines().collect::<Vec<_>>();
    assert!(
        lines[0].starts_with("provisioner.toml:2: worker-types.linux.image-id: is required (add")
    );
    assert!(
        lines[1].starts_with("provisioner.toml:2: worker-types.linux.instance-types: is required")
    );
    let error = Scene::with("[worker-types.l]\nimage-id = 'img'\ninstance-types = []\n").error();
    let lines = error.lines().collect::<Vec<_>>();
    assert!(lines[0].contains("image-id: `img` is not an image"), "{error}");
    assert!(lines[1].contains("instance-types: must name at least one type"), "{error}");
    assert_eq!(lines.len(), 2, "{error}");
    // One good type does not excuse a broken one.
    assert!(
        Scene::with(&format!("{TYPE}[worker-types.other]\n")).error().contains("other.image-id")
    );
}

#[test]
fn contradictions_name_both_sides() {
    let error = type_error("max-instances = 2\nmin-instances = 3\n");
    assert_eq!(
        error,
        "provisioner.toml:5: worker-types.linux.min-instances: min-instances (3, provisioner.toml:5) is \
         more than max-instances (2, provisioner.toml:4) (raise max-instances or lower min-instances)"
    );
    let error = Scene::with("[provisioner]\nmin-interval = '1m'\n").error();
    assert!(error.starts_with(
        "provisioner.toml:2: provisioner.min-interval: interval (10s by default) is shorter than min-interval (1m, provisioner.toml:2)"
    ), "{error}");
    // What was refused contradicts nothing.
    let error = Scene::with("[provisioner]\nmin-interval = '1m'\ninterval = 'often'\n").error();
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn aliases_and_names_mean_one_type_each() {
    let second = "[worker-types.other]\nimage-id = 'ami-2'\ninstance-types = ['a.b']\n";
    let with = |first: &str, other: &str| {
        Scene::with(&format!("{TYPE}aliases = [{first}]\n{second}aliases = [{other}]\n"))
    };
    assert!(with("'x'", "'y'").load().warnings.is_empty());
    assert!(with("'x'", "'x'").error().contains("`x` is an alias of `linux` and of `other`"));
    assert!(with("'other'", "'y'").error().contains("`other` is the name of another worker type"));
}

#[test]
fn worker_defaults_lie_beneath_every_type() {
    let text = "[worker-defaults]\nimage-id = 'ami-d'\nmax-instances = 7\nmax-lifetime = '1h'\n\
                security-groups = ['a', 'b']\ntags = { team = 'ci', cost = 'x' }\n\
                launch-specification = { EbsOptimized = true }\nuser-data = 'd'\n\
                [worker-types.linux]\ninstance-types = ['c7g.large']\nsecurity-groups = ['c']\n\
                tags = { cost = 'y' }\nlaunch-specification.Monitoring = { Enabled = true }\n\
                user-data-file = 'u'\n";
    let scene = Scene::with(text).file("u", "from a file");
    let loaded = scene.load();
    let linux = worker_type(&loaded);
    assert_eq!((linux.image_id.as_str(), linux.max_instances), ("ami-d", 7));
    assert_eq!(linux.security_groups, ["c"]);
    assert_eq!(
        linux.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["cost=y", "team=ci"]
    );
    let spec = &linux.launch_specification;
    assert_eq!(
        (spec.ebs_optimized, spec.monitoring.as_ref().map(|m| m.enabled)),
        (Some(true), Some(true))
    );
    assert_eq!(linux.user_data.as_ref().unwrap().raw, b"from a file");
    assert_eq!(loaded.settings.retired_max_lifetime, Some(Duration::from_hours(1)));
    assert_eq!(
        entry(&loaded, "worker-types.linux.max-instances"),
        (&7.into(), "provisioner.toml:3".to_owned())
    );
    assert_eq!(entry(&loaded, "worker-types.linux.tags.team").1, "provisioner.toml:6");
    let off = Scene::with("[worker-defaults]\nmax-lifetime = '0s'\n").load();
    assert_eq!(off.settings.retired_max_lifetime, None);
}

#[test]
fn a_mistake_in_the_defaults_is_reported_once() {
    let text = format!(
        "{TYPE}[worker-types.b]\ninstance-types = ['a.b']\n[worker-defaults]\nimage-id = 'ami-1'\nmax-prize = 1\n"
    );
    assert_eq!(
        Scene::with(&text).error(),
        "provisioner.toml:8: worker-defaults.max-prize: unknown key (did you mean `max-price`?)"
    );
    assert!(Scene::with("[worker-defaults]\nmax-prize = 1\n").error().contains("max-prize"));
    // Complete only together with a type.
    let text = "[worker-defaults]\nmin-instances = 30\nimage-id = 'ami-1'\n";
    assert_eq!(Scene::with(text).load().settings.worker_types.len(), 0);
}

#[test]
fn the_environment_is_read_as_what_the_key_takes() {
    let loaded = Scene::with(TYPE)
        .env("PROVISIONER__PROVISIONER__INTERVAL", "1m30s")
        .env("PROVISIONER__PROVISIONER__ADOPT_KEY_NAME", "true")
        .env("PROVISIONER__PROVISIONER__RETIRED", "[{ key-name = 'k', region = 'r' }]")
        .env("PROVISIONER__LIMITS__MAX_USD_PER_HOUR", "2.5")
        .env("PROVISIONER__AWS__ACCOUNT_ID", "012345678901")
        .env("PROVISIONER__QUEUE__RUNNING", "false")
        .env("PROVISIONER__WORKER_TYPES__LINUX__INSTANCE_TYPES", "a.b, c.d")
        .env("PROVISIONER__WORKER_TYPES__LINUX__SECURITY_GROUPS", "[\"with, comma\"]")
        .env("PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTANCES", "3")
        .env("PROVISIONER__WORKER_TYPES__LINUX__USER_DATA", "{ echo hi; }")
        .env("PROVISIONER__WORKER_TYPES__LINUX__LAUNCH_SPECIFICATION", "{ EbsOptimized = true }")
        .env("PROVISIONER__WORKER_DEFAULTS__TAGS__TEAM", "12")
        .env("PROVISIONER_CONFIG", "ignored")
        .load();
    let settings = &loaded.settings;
    assert_eq!(settings.provisioner.interval, Duration::from_secs(90));
    assert!(settings.provisioner.adopt_key_name);
    assert_eq!(settings.provisioner.retired[0].region, "r");
    assert_eq!(settings.limits.max_usd_per_hour.unwrap().micros(), 2_500_000);
    assert_eq!(settings.aws.account_id.as_deref(), Some("012345678901"));
    assert_eq!(settings.queue.running, AskRunning::Never);
    let linux = worker_type(&loaded);
    assert_eq!(linux.instance_types, ["a.b".into(), "c.d".into()]);
    assert_eq!(linux.security_groups, ["with, comma"]);
    assert_eq!(linux.max_instances, 3);
    assert_eq!(linux.user_data.as_ref().unwrap().raw, b"{ echo hi; }");
    assert_eq!(linux.launch_specification.ebs_optimized, Some(true));
    assert_eq!(linux.tags["team"], "12");
}

#[test]
fn problems_in_variables_and_flags_name_them() {
    let scene = Scene::with(TYPE)
        .env("PROVISIONER__QUEUE__PORT", "many")
        .env("PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTNCES", "1")
        .env("PROVISIONER__LIMITS__MAX_INSTANCES", "-3")
        .flag("--region", "aws.region", "us west");
    let error = scene.error();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "PROVISIONER__LIMITS__MAX_INSTANCES: limits.max-instances: -3 is out of range (0 to 18446744073709551615)",
            "PROVISIONER__QUEUE__PORT: queue.port: `many` is not a whole number",
            "PROVISIONER__WORKER_TYPES__LINUX__MAX_INSTNCES: worker-types.linux.max-instnces: unknown key (did you mean `max-instances`?)",
            "--region: aws.region: `us west` is not a region (such as us-west-2)",
        ]
    );
    let empty = Scene::new().env("PROVISIONER__AWS__", "x").error();
    assert!(empty.starts_with("PROVISIONER__AWS__: a part of the key is empty"), "{empty}");
    let both =
        Scene::new().env("PROVISIONER__AWS", "x").env("PROVISIONER__AWS__REGION", "r").error();
    assert!(both.contains("a plain value in PROVISIONER__AWS"), "{both}");
}

#[test]
fn a_flag_reaches_a_quoted_key() {
    let loaded = Scene::with(TYPE).flag("--set", "worker-types.linux.tags.\"a.b\"", "c").load();
    assert_eq!(worker_type(&loaded).tags["a.b"], "c");
}

#[test]
fn the_saved_region_is_what_the_files_say() {
    let scene =
        Scene::with("[aws]\nregion = 'us-west-2'\n").flag("--region", "aws.region", "eu-west-1");
    let aws = scene.load().settings.aws;
    assert_eq!(aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(aws.saved_region.as_deref(), Some("us-west-2"));
    let scene = Scene::new().env("PROVISIONER__AWS__REGION", "eu-west-1");
    assert_eq!(scene.load().settings.aws.saved_region, None);
}

#[test]
fn account_ids_may_be_numbers() {
    let aws = Scene::with("[aws]\naccount-id = 123456789012\n").load().settings.aws;
    assert_eq!(aws.account_id.as_deref(), Some("123456789012"));
}

#[test]
fn empty_is_unset() {
    let loaded = Scene::with(&format!(
        "[provisioner]\nkey-name = ''\nstate-dir = ''\n[server]\nlisten = ''\n[queue]\nurl = ''\n{TYPE}\
         user-data = ''\nuser-data-file = ''\niam-instance-profile = ''\n"
    ))
    .load();
    assert_eq!(
        (&loaded.settings.provisioner.key_name, &loaded.settings.provisioner.state_dir),
        (&None, &None)
    );
    assert_eq!(loaded.settings.server.listen, None);
    assert_eq!(loaded.settings.queue.base_url, "http://localhost:8314/0.1.0");
    assert_eq!(worker_type(&loaded).user_data, None);
}

#[test]
fn hosts_are_names_without_scheme_and_port() {
    let scene = |host: &str| Scene::with(&format!("[server]\nhosts = ['{host}']\n"));
    assert_eq!(scene("Prov.example.").load().settings.server.hosts, ["prov.example"]);
    for wrong in ["https://prov.example", "prov.example:3000", "", "*"] {
        let error = load(&scene(wrong).sources).unwrap_err();
        assert!(error.to_string().contains("server.hosts"), "{wrong}: {error}");
    }
}

#[test]
fn the_queue_url_replaces_host_port_and_version() {
    let base =
        |text: &str| Scene::with(&format!("[queue]\n{text}\n")).load().settings.queue.base_url;
    assert_eq!(base("url = 'http://q.example.com/v1/'"), "http://q.example.com/v1");
    assert_eq!(base("url = 'http://q.example.com'"), "http://q.example.com");
    assert_eq!(base("host = '::1'\nport = 80\nversion = 'v2/x'"), "http://[::1]/v2/x");
    // Beside them, too; what it replaces is not shown as in force, and must be of the right type.
    let both = "url = 'http://q/v'\nport = 1\nhost = 'a'\nversion = '2'";
    assert_eq!(base(both), "http://q/v");
    let loaded = Scene::with(&format!("[queue]\n{both}\n")).load();
    let shown = |key: &str| loaded.entries.iter().any(|entry| entry.key == key);
    assert!(shown("queue.url") && !shown("queue.host") && !shown("queue.port"));
    let error = Scene::with("[queue]\nurl = 'http://q'\nport = 'x'\n").error();
    assert!(error.starts_with("provisioner.toml:3: queue.port: expected"), "{error}");
    // A higher layer chooses anew.
    let scene = Scene::with("[queue]\nhost = 'a'\n").env("PROVISIONER__QUEUE__URL", "http://b/v");
    assert_eq!(scene.load().settings.queue.base_url, "http://b/v");
    let scene = Scene::with("[queue]\nurl = 'http://a/v'\n").env("PROVISIONER__QUEUE__HOST", "b");
    assert_eq!(scene.load().settings.queue.base_url, "http://b:8314/0.1.0");
}

#[test]
fn queue_urls_are_checked_and_never_repeated() {
    for (text, expected) in [
        ("url = 'ftp://q'", "not an http or https URL"),
        ("url = 'q.example.com/v1'", "not a URL"),
        ("url = 'http://user:secret@q'", "the URL holds a user name or password"),
        ("url = 'http://secret@q'", "the URL holds a user name or password"),
        ("url = 'http://q/v1?key=secret'", "the URL has a query or fragment"),
    ] {
        let error = Scene::with(&format!("[queue]\n{text}\n")).error();
        assert!(error.contains("queue.url: ") && error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn tokens_do_not_travel_in_the_clear() {
    let scene = |queue: &str| Scene::with(&format!("[queue]\ntoken-file = 't'\n{queue}\n"));
    assert!(
        scene("host = 'q'")
            .error()
            .contains("queue.token-file: the token would go over the network")
    );
    assert!(scene("url = 'http://10.0.0.1/v'").error().contains("in the clear"));
    let local = scene("url = 'http://127.0.0.1:1/v'");
    assert_eq!(local.load().settings.queue.token_file, Some(local.dir.path().join("t")));
    scene("").load();
}

#[test]
fn https_needs_tls() {
    let scene = Scene::with("[queue]\nurl = 'https://q/v'\ntoken-file = 't'\n");
    if cfg!(feature = "tls") {
        assert_eq!(scene.load().settings.queue.base_url, "https://q/v");
    } else {
        assert!(scene.error().contains("queue.url: this build has no TLS"));
    }
}

#[test]
fn paths_are_relative_to_where_they_are_written() {
    let text = format!("[provisioner]\nstate-dir = 'state'\n{TYPE}user-data-file = 'u.sh'\n");
    let mut scene =
        Scene::new().file("conf/c.toml", text).file("conf/u.sh", "hello").file("v.sh", "bye");
    scene.sources.explicit_file = Some(PathBuf::from("conf/c.toml"));
    let loaded = scene.load();
    assert_eq!(loaded.settings.provisioner.state_dir, Some(scene.dir.path().join("conf/state")));
    assert_eq!(worker_type(&loaded).user_data.as_ref().unwrap().raw, b"hello");
    let scene = scene.env("PROVISIONER__WORKER_TYPES__LINUX__USER_DATA_FILE", "v.sh");
    assert_eq!(worker_type(&scene.load()).user_data.as_ref().unwrap().raw, b"bye");
}

#[test]
fn user_data_has_its_limit() {
    let scene = |len: usize| Scene::with(&format!("{TYPE}user-data = '{}'\n", "x".repeat(len)));
    assert_eq!(
        worker_type(&scene(UserData::MAX_LEN).load()).user_data.as_ref().unwrap().raw.len(),
        16384
    );
    let error = scene(UserData::MAX_LEN + 1).error();
    assert!(error.contains("user-data: has 16385 bytes; EC2 takes at most 16384"), "{error}");
    let file = Scene::with(&format!("{TYPE}user-data-file = 'u'\n"));
    let file = file.file("u", vec![0; UserData::MAX_LEN + 1]);
    assert!(file.error().contains("user-data-file: has 16385 bytes"));
    let grown = format!(
        "{TYPE}user-data-template = true\nuser-data = '{}${{{{ queue_url }}}}'\n",
        "x".repeat(UserData::MAX_LEN - 16)
    );
    assert!(Scene::with(&grown).error().contains("linux.user-data: the user data has 16395 bytes"));
}

#[test]
fn templates_are_checked_early_and_filled_in_late() {
    let text = |data: &str| format!("{TYPE}user-data-template = true\nuser-data = '{data}'\n");
    let error = Scene::with(&text("${{ regoin }}")).error();
    assert!(
        error.starts_with(
            "provisioner.toml:5: worker-types.linux.user-data: undefined template name `regoin`"
        ),
        "{error}"
    );
    let scene = Scene::with(&text("${{ key_name }} ${{ region }} ${{ idle_timeout }}"));
    let name = WorkerTypeName::parse("linux").unwrap();
    let render = |scene: &Scene| scene.load().settings.render_user_data(&name, "eu-west-1");
    assert!(render(&scene).is_err(), "no key-name yet");
    let scene = scene.env("PROVISIONER__PROVISIONER__KEY_NAME", "k-1");
    assert_eq!(render(&scene).unwrap().unwrap().with_token(""), b"k-1 eu-west-1 900s");
}

#[test]
fn workers_are_told_an_address_they_can_reach() {
    let stop_url = |server: &str| {
        let loaded = Scene::with(&format!("[server]\n{server}\n")).load();
        loaded.settings.server.workers.and_then(|workers| workers.stop_url)
    };
    assert_eq!(stop_url(""), None);
    for unreachable in ["0.0.0.0:3001", "127.0.0.1:3001", "[::]:3001", "[::1]:3001", "10.0.0.5:0"] {
        assert_eq!(stop_url(&format!("worker-listen = '{unreachable}'")), None, "{unreachable}");
    }
    for (server, url) in [
        ("worker-listen = '10.0.0.5:3001'", "http://10.0.0.5:3001/v1/workers"),
        ("worker-listen = '[fd00::5]:3001'", "http://[fd00::5]:3001/v1/workers"),
        (
            "worker-listen = '0.0.0.0:3001'\nworker-url = 'https://p.internal/ask/'",
            "https://p.internal/ask/v1/workers",
        ),
    ] {
        assert_eq!(stop_url(server).as_deref(), Some(url));
    }
    let asks = |server: &str| {
        let template = "user-data-template = true\nuser-data = '${{ stop_url }}'";
        Scene::with(&format!("{server}\n{TYPE}{template}\n"))
    };
    let error = asks("").error();
    assert!(
        error.contains("`server.worker-listen` is not set, so nothing would answer"),
        "{error}"
    );
    let error = asks("[server]\nworker-listen = '0.0.0.0:3001'").error();
    assert!(error.contains("set `server.worker-url`"), "{error}");
}

#[test]
fn entries_are_sorted_and_without_secrets() {
    let loaded = Scene::with(&format!("{TYPE}user-data = 'password'\n")).load();
    let keys = loaded.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>();
    assert!(keys.is_sorted() && keys.len() > 40, "{keys:?}");
    assert_eq!(
        entry(&loaded, "worker-types.linux.user-data"),
        (&"<8 bytes>".into(), "provisioner.toml:4".to_owned())
    );
    assert_eq!(entry(&loaded, "provisioner.interval"), (&"10s".into(), "default".to_owned()));
    assert_eq!(entry(&loaded, "provisioner.key-name").0, &serde_json::Value::Null);
    assert!(!format!("{:?}{:?}", loaded.entries, loaded.settings).contains("password"));
}

#[test]
fn the_launch_specification_is_spelled_as_in_ec2() {
    let loaded = Scene::with(&format!(
        "{TYPE}[worker-types.linux.launch-specification]\nEbsOptimized = true\n\
         Monitoring = {{ Enabled = true }}\nPlacement = {{ Tenancy = 'dedicated' }}\n\
         NetworkInterfaces = [{{ DeviceIndex = 1, Groups = ['sg-1'], SubnetId = 'subnet-1' }}]\n\
         [[worker-types.linux.launch-specification.BlockDeviceMappings]]\nDeviceName = '/dev/xvda'\n\
         Ebs = {{ VolumeSize = 100, VolumeType = 'gp3', Throughput = 250 }}\n"
    ))
    .load();
    let read = serde_json::to_value(&worker_type(&loaded).launch_specification).unwrap();
    let expected = serde_json::json!({
        "BlockDeviceMappings": [{
            "DeviceName": "/dev/xvda",
            "Ebs": { "VolumeSize": 100, "VolumeType": "gp3", "Throughput": 250 },
        }],
        "EbsOptimized": true,
        "Monitoring": { "Enabled": true },
        "Placement": { "Tenancy": "dedicated" },
        "NetworkInterfaces": [{ "DeviceIndex": 1, "Groups": ["sg-1"], "SubnetId": "subnet-1" }],
    });
    assert_eq!(read, expected);
}

#[test]
fn every_key_is_told_with_what_it_takes() {
    let keys = keys();
    let key = |path: &str| {
        keys.iter().find(|key| key.path == path).unwrap_or_else(|| panic!("no key {path}"))
    };
    let interval = key("provisioner.interval");
    assert_eq!((&interval.kind, &interval.default), (&KeyKind::Duration, &Some("10s".into())));
    assert_eq!(interval.variable().as_deref(), Some("PROVISIONER__PROVISIONER__INTERVAL"));
    let variable = key("worker-types.NAME.max-price").variable();
    assert_eq!(variable.as_deref(), Some("PROVISIONER__WORKER_TYPES__NAME__MAX_PRICE"));
    for required in ["worker-types.NAME.image-id", "provisioner.retired[].region"] {
        assert!(key(required).required, "{required}");
    }
    assert!(!key("worker-types.NAME.max-price").required);
    let size = key("worker-types.NAME.launch-specification.BlockDeviceMappings[].Ebs.VolumeSize");
    assert_eq!((&size.kind, size.variable()), (&KeyKind::WholeNumber, None));
    assert_eq!(key("queue.running").kind.to_string(), "\"auto\" or true or false");
    let mut paths = keys.iter().map(|key| &key.path).collect::<Vec<_>>();
    paths.sort();
    assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "twice: {paths:?}");
    for Key { path, meaning, .. } in &keys {
        assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{path}: {meaning}");
    }
}

#[test]
fn every_value_in_force_is_a_key_that_is_told() {
    let keys = keys();
    let everything = format!(
        "{TYPE}[provisioner]\nretired = [{{ key-name = 'k', region = 'r', account-id = '' }}]\n\
         [worker-defaults]\nmax-price = 1\n"
    );
    for Entry { key: path, kind, value, .. } in Scene::with(&everything).load().entries {
        let told = path
            .replace(".linux", ".NAME")
            .replace("[0]", "[]")
            .replace("worker-defaults", "worker-types.NAME");
        let key = keys.iter().find(|key| key.path == told);
        let key = key.unwrap_or_else(|| panic!("{path} is not told"));
        assert_eq!(key.kind, kind, "{path}");
        if let Some(default) = &key.default
            && !everything.contains(key.path.rsplit('.').next().unwrap())
        {
            assert_eq!(default, &value, "{path}");
        }
    }
}

/// The variables that are told are the ones that are read.
#[test]
fn the_variables_set_their_keys() {
    let named = TYPE.replace("linux", "name");
    let mut set = 0;
    for key in keys() {
        let Some(variable) = key.variable() else { continue };
        let value = match &key.kind {
            KeyKind::OneOf(words) => words.last().unwrap().trim_matches('"').to_owned(),
            KeyKind::Boolean => "true".to_owned(),
            KeyKind::WholeNumber | KeyKind::UsdPerHour | KeyKind::Usd => "7".to_owned(),
            KeyKind::Duration => "7s".to_owned(),
            KeyKind::Texts => "m5.large,subnet-1".to_owned(),
            KeyKind::Text | KeyKind::Path => "/x".to_owned(),
            KeyKind::Table => "{}".to_owned(),
            KeyKind::Tables => "[]".to_owned(),
        };
        // Whether the value is any good is another matter: somebody asked for the key.
        let error = match load(&Scene::with(&named).env(&variable, &value).sources) {
            Ok(_) if matches!(key.kind, KeyKind::Table | KeyKind::Tables) => continue,
            Ok(loaded) => {
                let path = key.path.replace("NAME", "name");
                let origin = entry(&loaded, &path).1;
                assert_eq!(origin, variable);
                set += 1;
                continue;
            }
            Err(error) => error.to_string(),
        };
        assert!(!error.contains("unknown key"), "{variable}: {error}");
    }
    assert!(set > 20, "{set} keys could be set");
}
