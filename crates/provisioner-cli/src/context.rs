//! The process around a command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::args::GlobalArgs;
use crate::exit::Failure;
use crate::output::{Notices, Output};

/// Everything that a command may see of its process.
pub(crate) struct Context {
    /// The options of every command.
    pub(crate) globals: GlobalArgs,
    /// Takes the data.
    pub(crate) output: Output,
    /// Takes progress, warnings and failures.
    pub(crate) notices: Notices,
    /// The variables whose names and values are valid UTF-8.
    pub(crate) environment: BTreeMap<String, String>,
    /// The directory in which the program was started.
    pub(crate) current_dir: PathBuf,
}

/// Returns the variables that are valid UTF-8. A configuration variable that is not is an error; others are
/// ignored.
pub(crate) fn text_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut environment = BTreeMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => {
                environment.insert(name, value);
            }
            Err(_) if name.starts_with("PROVISIONER__") => {
                return Err(Failure::usage(format!("the value of `{name}` is not UTF-8")));
            }
            Err(_) => {}
        }
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn only_our_own_variables_must_be_text() {
        let bad = || OsString::from_vec(vec![0xff]);
        let good = || OsString::from("x");
        let read = |name: OsString, value| text_environment([(name, value)].into_iter());
        assert_eq!(read("HOME".into(), good()).unwrap().len(), 1);
        assert_eq!(read("HOME".into(), bad()).unwrap().len(), 0);
        assert_eq!(read(bad(), good()).unwrap().len(), 0);
        let failure = read("PROVISIONER__QUEUE__HOST".into(), bad()).unwrap_err();
        assert_eq!(failure.status().code(), 2);
    }
}
