//! Rules of both command lines: empty variables count as not set, and errors never show a secret. It
//! defines no flag.

use std::ffi::{OsStr, OsString};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// The same command, but empty variables count as not set: `VAR=` in a compose file or an `.env` file
/// means that, while clap would use the empty text as the value.
pub fn ignore_empty_variables(command: Command) -> Command {
    command.mut_args(|arg| without_empty_variable(arg, |name| std::env::var_os(name)))
}

fn without_empty_variable(arg: Arg, value_of: impl Fn(&OsStr) -> Option<OsString>) -> Arg {
    let value = arg.get_env().and_then(value_of);
    if value.is_some_and(|value| value.is_empty()) {
        arg.env(None::<&'static str>)
    } else {
        arg
    }
}

/// Parses a secret with this function, whose errors must not repeat the value. Parsers of clap would
/// show it.
#[derive(Clone, Debug)]
pub struct SecretParser<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SecretParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| "not UTF-8 text".to_owned());
        text.and_then(self.0).map_err(|reason| {
            // `--name <NAME>`, as in clap's own messages.
            let name = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{name}': {reason}");
            command.clone().error(ErrorKind::ValueValidation, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let arg = || Arg::new("setting").long("setting").env("SETTING");
        let variable = |value: Option<&'static str>| {
            without_empty_variable(arg(), |_| value.map(OsString::from))
        };
        assert_eq!(variable(Some("")).get_env(), None);
        assert!(variable(Some("x")).get_env().is_some() && variable(None).get_env().is_some());
    }
}
