//! The page of the configuration file.

use clap_mangen::roff::{Roff, bold, roman};
use provisioner::internal::config::{self, Key, KeyKind};

use super::{MANUAL, NO_DATE, Page, SOURCE, markup};

const NAME: &str = "provisioner.toml";

/// Generates the page.
pub(super) fn page() -> Page {
    let mut roff = Roff::new();
    roff.control("TH", [NAME, "5", NO_DATE, SOURCE, MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!(
        "{NAME} - configuration of provisionerd, setup-aws and cleanup-aws"
    ))]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in [
        "The format is TOML. From the highest precedence to the lowest: command line, environment \
         (`PROVISIONER__SECTION__KEY`), `./provisioner.toml`, the user's file, the machine's file, the AWS \
         SDK's own region and profile, defaults. `--config` and `PROVISIONER_CONFIG` replace the three \
         files. Tables are merged; arrays and plain values are replaced.",
        "Durations are texts with a unit, such as `\"45s\"`, `\"15m\"` or `\"1h30m\"`; prices are \
         numbers in USD. Relative paths start at the directory of the file. Unknown keys are errors.",
        "`provisionerd validate` checks the file, and `provisionerd config` prints the values in force.",
    ] {
        roff.control("PP", []);
        roff.text(markup::inline(paragraph));
    }
    for key in config::keys() {
        let top_level = !key.path.contains('.');
        if top_level || key.path == "worker-types.NAME" {
            roff.control("SH", [format!("[{}]", key.path).as_str()]);
            roff.text(markup::inline(&format!("{}.", key.meaning)));
        } else {
            entry(&mut roff, &key);
        }
    }
    roff.control("SH", ["FILES"]);
    let files = [
        "./provisioner.toml",
        "~/.config/provisioner/provisioner.toml",
        config::lookup::SYSTEM_FILE,
    ];
    for file in files {
        roff.control("TP", []);
        roff.text([bold(file)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("provisionerd(1), setup-aws(1), cleanup-aws(1)")]);
    Page::new(NAME, 5, &roff.render())
}

fn entry(roff: &mut Roff, key: &Key) {
    let Key { path, kind, default, required, meaning } = key;
    let name = path.strip_prefix("worker-types.NAME.").unwrap_or(path);
    let name = name.split_once('.').filter(|_| name == path).map_or(name, |(_, name)| name);
    let default = match (default, required) {
        (_, true) => "; required".to_owned(),
        (Some(default), false) => format!("; default `{default}`"),
        (None, false) => String::new(),
    };
    let of = match kind {
        KeyKind::OneOf(_) => String::new(),
        KeyKind::Table | KeyKind::Tables => format!(" ({kind})"),
        _ => format!(" ({kind}{default})"),
    };
    let choice = match kind {
        KeyKind::OneOf(words) => format!(" One of {}{default}.", words.join(", ")),
        _ => String::new(),
    };
    markup::entry(roff, name, &format!("{meaning}{of}.{choice}"));
}
