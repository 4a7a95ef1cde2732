//! The address of a database. Its password is never shown.

use std::{fmt, time::Duration};

use tokio_postgres::{Config, config::Host};

/// How long the other side may be silent before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(10);

/// The address of a PostgreSQL database: `postgres://user:password@host:port/database`. Shown without user, password and options.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Box<Config>);

impl PostgresUrl {
    /// Parses an address; the error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "give postgres://user:password@host:port/database, with special characters of the password as %XX";
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(FORM.to_owned());
        }
        let mut config: Config = text.parse().map_err(|_| FORM.to_owned())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(format!("the host is missing; {FORM}"));
        }
        if config.get_dbname().is_none() {
            return Err(format!("the database is missing; {FORM}"));
        }
        if config.get_application_name().is_none() {
            config.application_name("monitoring-service");
        }
        config
            .keepalives_idle(SILENCE)
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .tcp_user_timeout(SILENCE);
        Ok(Self(Box::new(config)))
    }

    pub(super) const fn config(&self) -> &Config {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.0.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = self.0.get_hosts().iter().enumerate();
        let hosts = hosts.map(|(at, host)| match host {
            Host::Tcp(host) => format!("{host}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<_> = hosts.collect();
        let database = self.0.get_dbname().unwrap_or_default();
        write!(f, "postgres://{}/{database}", hosts.join(","))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let url = "postgres://me:hunter2@db.example:6432/monitoring?sslmode=require";
        let url = PostgresUrl::parse(url).expect("an address");
        assert_eq!(url.to_string(), "postgres://db.example:6432/monitoring");
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn a_refused_address_is_not_repeated() {
        for text in [
            "hunter2",
            "mysql://me:hunter2@db/monitoring",
            "postgres://me:hunter2@db",
            "postgres://me:hunter2@db:hunter2/monitoring",
            "postgres://me:hunter2@db/monitoring?sslmode=hunter2",
            "postgres://me:hunter2@db/monitoring?hunter2=1",
        ] {
            let error = PostgresUrl::parse(text).expect_err(text);
            assert!(!error.contains("hunter2"), "{text}: {error}");
            assert!(
                error.contains("give postgres://user:password@host"),
                "{error}"
            );
        }
    }
}
