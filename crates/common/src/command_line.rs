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

/// The same command with the secrets of files: `NAME_FILE` is the path of a file with the value of the secret variable `NAME`, as
/// container runtimes mount them. Apply it before [`ignore_empty_variables`].
pub fn secrets_from_files(command: Command) -> Result<Command, clap::Error> {
    read_secrets(command, |name| std::env::var_os(name))
}

fn read_secrets(
    mut command: Command,
    value_of: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<Command, clap::Error> {
    let set = |name: &OsStr| value_of(name).filter(|value| !value.is_empty());
    let mut secrets = Vec::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().filter(|_| arg.is_hide_env_values_set()) else {
            continue;
        };
        let mut file_name = name.to_owned();
        file_name.push("_FILE");
        let Some(path) = set(&file_name) else {
            continue;
        };
        let (name, file_name) = (name.to_string_lossy(), file_name.to_string_lossy());
        let secret = match set(OsStr::new(&*name)) {
            Some(_) => Err(format!(
                "{name} and {file_name} are both set; set one of them"
            )),
            None => std::fs::read_to_string(&path)
                .map_err(|error| format!("{file_name}: cannot read {}: {error}", path.display())),
        };
        secrets.push((arg.get_id().clone(), secret));
    }
    for (id, secret) in secrets {
        let secret = secret.map_err(|reason| command.error(ErrorKind::ValueValidation, reason))?;
        // Read once at the start. clap keeps defaults for the life of the process.
        let secret: &'static str = secret.trim_end().to_owned().leak();
        command = command.mut_arg(id, |arg| arg.default_value(secret).hide_default_value(true));
    }
    Ok(command)
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
    fn a_secret_can_come_from_a_file() {
        let name = format!("command-line-secret-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "hunter2\n").expect("written");
        let read = |variables: &[(&str, &OsStr)]| {
            let token = Arg::new("token").long("token").env("TOKEN_OF_A_TEST");
            let command = Command::new("program").arg(token.hide_env_values(true));
            let value = |name: &OsStr| variables.iter().find(|(known, _)| name == *known);
            read_secrets(command, |name| {
                value(name).map(|(_, value)| (*value).to_owned())
            })
        };
        let file = ("TOKEN_OF_A_TEST_FILE", path.as_os_str());
        let mut command = read(&[file]).expect("readable");
        assert!(!command.render_long_help().to_string().contains("hunter2"));
        let matches = command.get_matches_from(["program"]);
        assert_eq!(
            matches.get_one::<String>("token").map(String::as_str),
            Some("hunter2")
        );

        let both = read(&[file, ("TOKEN_OF_A_TEST", OsStr::new("other"))]).expect_err("two values");
        assert!(both.to_string().contains("are both set"), "{both}");
        std::fs::remove_file(&path).expect("written");
        let missing = read(&[("TOKEN_OF_A_TEST_FILE", OsStr::new("/nowhere/token"))]);
        let missing = missing.expect_err("no file").to_string();
        assert!(
            missing.contains("TOKEN_OF_A_TEST_FILE: cannot read /nowhere/token"),
            "{missing}"
        );
    }

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
