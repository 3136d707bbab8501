//! Where the address of Redis was said, so that a message names what its reader has to change.

/// Where the address of Redis was said: in one URL, or in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// As a whole URL, in something that goes by this name: `REDIS_URL`, `--redis`, `redis.url in jobcell.toml`.
    Url(String),
    /// In the variables `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB` and `REDIS_TLS`.
    Parts,
}

/// What most programs read it from.
impl Default for Said {
    fn default() -> Self {
        Self::Url("REDIS_URL".to_owned())
    }
}

// === impl Said ===

impl Said {
    /// What holds the host and the port.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Url(name) => name,
            Self::Parts => "REDIS_HOST and REDIS_PORT",
        }
    }

    /// How to log in as somebody.
    pub(crate) fn login(&self) -> String {
        let set = "set REDIS_PASSWORD (and REDIS_USERNAME for an ACL user)";
        match self {
            Self::Url(name) => format!("{set} or put user:password@ into {name}"),
            Self::Parts => set.to_owned(),
        }
    }

    /// How to correct a login that is refused; `user` is who tried.
    pub(crate) fn other_login(&self, user: Option<&str>) -> String {
        let place = match self {
            Self::Url(name) => format!("REDIS_PASSWORD and REDIS_USERNAME, or user:password@ in {name}"),
            Self::Parts => "REDIS_PASSWORD and REDIS_USERNAME".to_owned(),
        };
        let user = user.unwrap_or("default");
        format!(
            "user {user:?} and the password do not fit: correct {place}; the user is \"default\" where the provider names none"
        )
    }

    /// How to log in as nobody.
    pub(crate) fn no_login(&self) -> String {
        match self {
            Self::Url(name) => format!("unset REDIS_PASSWORD, or take the password out of {name}"),
            Self::Parts => "unset REDIS_PASSWORD".to_owned(),
        }
    }

    /// How to switch TLS on or off.
    pub(crate) fn tls(&self, on: bool) -> String {
        match self {
            Self::Url(name) if on => format!("write rediss:// instead of redis:// in {name}"),
            Self::Url(name) => format!("write redis:// instead of rediss:// in {name}"),
            Self::Parts => format!("set REDIS_TLS={on}"),
        }
    }

    /// What holds the database.
    pub(crate) fn database(&self) -> String {
        match self {
            Self::Url(name) => format!("REDIS_DB, or the end of {name}"),
            Self::Parts => "REDIS_DB".to_owned(),
        }
    }
}
