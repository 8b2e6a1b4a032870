//! The command lines of the README work in their order.

use crate::harness::{IMAGE, Project};

pub(crate) const README: &str = include_str!("../../README.md");

/// Returns the fenced blocks of a language in the README, without their fences.
pub(crate) fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut within: Option<(bool, String)> = None;
    for line in README.lines() {
        match (line.strip_prefix("```"), &mut within) {
            (Some(opening), None) => within = Some((opening == language, String::new())),
            (Some(_), Some(_)) => {
                blocks.extend(within.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text));
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(within.is_none(), "a block without an end");
    blocks
}

/// The lines that call our programs, without comments: the program and its arguments.
fn commands() -> Vec<(&'static str, Vec<String>)> {
    let programs = ["setup-aws", "provisionerd", "cleanup-aws"];
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let commands = lines.filter_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.split_once(" #").map_or(line, |(command, _)| command);
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let program = programs.into_iter().find(|program| *program == first)?;
        Some((program, words.map(str::to_owned).collect()))
    });
    commands.collect()
}

/// The sample, for this project's queue and image.
fn sample(project: &Project) -> String {
    let blocks = blocks("toml");
    let [sample] = &blocks[..] else { panic!("not one sample, but {}", blocks.len()) };
    let mut sample = sample.clone();
    for (theirs, ours) in [
        ("host = \"localhost\"", "host = \"127.0.0.1\"".to_owned()),
        ("port = 8314", format!("port = {}", project.queue.port())),
        ("ami-0123456789abcdef0", IMAGE.to_owned()),
    ] {
        assert!(sample.contains(theirs), "the sample has no {theirs:?}");
        sample = sample.replace(theirs, &ours);
    }
    sample
}

#[test]
fn every_command_line_works() {
    let project = Project::new();
    std::fs::remove_file(project.config_path()).unwrap();
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    assert_eq!(commands.first().unwrap().0, "setup-aws");
    assert_eq!(commands.last().unwrap().0, "cleanup-aws");

    let mut key_name = String::new();
    for (program, args) in &commands {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let line = format!("{program} {}", args.join(" "));
        if line == "provisionerd run" {
            let mut daemon = project.daemon();
            project.queue.pending(&[("linux", 3)]);
            daemon.until("three instances", || project.live_and_open().0 == 3);
            daemon.stop();
            continue;
        }
        let before = project.world().spot_requests.len();
        project.run(program, &args).ok();
        let changes = project.world().spot_requests.len() - before;
        match &line[..] {
            "provisionerd run --once" => assert_eq!(project.live_and_open(), (2, 0)),
            _ if *program == "setup-aws" => {
                key_name = project.key_name();
                project.write_config(&format!("{}\n{}", project.config(), sample(&project)));
                project.queue.pending(&[("linux", 2)]);
            }
            _ if *program == "provisionerd" => assert_eq!(changes, 0, "{line} changed something"),
            _ => {}
        }
    }
    let world = project.world();
    assert!(world.live(&key_name).is_empty() && world.open(&key_name).is_empty(), "{world:?}");
    assert_eq!(world.requests(&key_name).len(), 3);
    assert!(!world.has_key_pair(&key_name));
    assert_eq!(project.files(), ["provisioner.toml"]);
}

#[test]
fn the_samples_are_valid() {
    let project = Project::new();
    let samples = [&blocks("toml").concat(), include_str!("../../examples/provisioner.toml")];
    for sample in samples {
        project.write_config(sample);
        let mut validate = project.command("provisionerd", &["validate"]);
        // The value that `setup-aws` would have saved.
        validate.env("PROVISIONER__PROVISIONER__KEY_NAME", "ours");
        Project::finish(&mut validate).ok();
    }
}

/// `max-price` times `max-instances` is the amount in the README, and the limits are equally tight.
#[test]
fn the_sample_costs_what_it_says() {
    let sample: toml::Table = blocks("toml").concat().parse().unwrap();
    let limits = &sample["limits"];
    let linux = &sample["worker-types"]["linux"];
    let most = linux["max-price"].as_float().unwrap() * 4.0;
    for table in [limits, linux] {
        assert_eq!(table["max-instances"].as_integer(), Some(4));
    }
    assert!((most - limits["max-usd-per-hour"].as_float().unwrap()).abs() < 1e-9);
    let per_day = limits["max-usd-per-day"].as_float().unwrap();
    assert!(most * 24.0 <= per_day, "the day's fence would stop the sample in the morning");
    assert!(README.contains(&format!("at most ${most:.2} an hour and ${per_day} a day")));
}
