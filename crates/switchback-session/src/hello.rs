use std::fmt;
use std::str::FromStr;

use crate::frame::parse_number;
use crate::{SessionId, Token};

/// What a client says when it opens a transport: which session it wants (`docs/protocol.md`, 3.2).
///
/// `Display` and `FromStr` are the string of the protocol, `1.new.…` or `1.resume.…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Begins a session, or joins it while it has not been selected.
    New {
        /// The id that the client has chosen.
        session: SessionId,
        /// The number of this attachment.
        attachment: u64,
        /// The client has given up every attachment with a lower number.
        fence: u64,
    },
    /// Goes on with a session.
    Resume {
        /// The id of the session.
        session: SessionId,
        /// The token of the attachment that was selected last.
        token: Token,
        /// The number of this attachment.
        attachment: u64,
        /// The client has given up every attachment with a lower number.
        fence: u64,
        /// The number of the last message that the client has received.
        received: u64,
    },
}

impl Hello {
    /// The version of the protocol that this crate speaks.
    pub const VERSION: u64 = 1;

    /// Returns the id of the session that is asked for.
    pub fn session(&self) -> &SessionId {
        match self {
            Self::New { session, .. } | Self::Resume { session, .. } => session,
        }
    }

    /// Returns the number of the attachment.
    pub fn attachment(&self) -> u64 {
        match self {
            Self::New { attachment, .. } | Self::Resume { attachment, .. } => *attachment,
        }
    }

    /// Returns the fence: attachments with lower numbers are given up.
    pub fn fence(&self) -> u64 {
        match self {
            Self::New { fence, .. } | Self::Resume { fence, .. } => *fence,
        }
    }

    /// Tells whether an existing session is asked for.
    pub fn is_resume(&self) -> bool {
        matches!(self, Self::Resume { .. })
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New {
                session,
                attachment,
                fence,
            } => write!(f, "1.new.{session}.{attachment}.{fence}"),
            Self::Resume {
                session,
                token,
                attachment,
                fence,
                received,
            } => write!(
                f,
                "1.resume.{session}.{token}.{attachment}.{fence}.{received}"
            ),
        }
    }
}

impl FromStr for Hello {
    type Err = HelloError;

    fn from_str(text: &str) -> Result<Self, HelloError> {
        let (version, rest) = text.split_once('.').ok_or(HelloError::Malformed)?;
        match parse_number(version) {
            Some(Self::VERSION) => {}
            Some(_) => return Err(HelloError::Version),
            None => return Err(HelloError::Malformed),
        }
        let mut parts = rest.split('.');
        let mut part = || parts.next().ok_or(HelloError::Malformed);
        let number = |text| parse_number(text).ok_or(HelloError::Malformed);
        let hello = match part()? {
            "new" => Self::New {
                session: part()?.parse()?,
                attachment: number(part()?)?,
                fence: number(part()?)?,
            },
            "resume" => Self::Resume {
                session: part()?.parse()?,
                token: part()?.parse()?,
                attachment: number(part()?)?,
                fence: number(part()?)?,
                received: number(part()?)?,
            },
            _ => return Err(HelloError::Malformed),
        };
        // Attachments count from 1, and nobody gives up the one that he is opening.
        let numbers = 1..=hello.attachment();
        if parts.next().is_some() || !numbers.contains(&hello.fence()) {
            return Err(HelloError::Malformed);
        }
        Ok(hello)
    }
}

/// Why a string is not a [`Hello`]; both are answered with 400 `bad_session`
/// (`docs/protocol.md`, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// The version is one that this crate does not speak.
    Version,
    /// It is not as `docs/protocol.md`, 3.2 says.
    Malformed,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the version of the session protocol is not supported",
            Self::Malformed => "the hello of the session is malformed",
        })
    }
}

impl std::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AAECAwQFBgcICQoLDA0ODw";

    #[test]
    fn writes_what_the_protocol_says() {
        let session: SessionId = ID.parse().unwrap();
        let new = Hello::New {
            session,
            attachment: 2,
            fence: 1,
        };
        assert_eq!(new.to_string(), format!("1.new.{ID}.2.1"));
        let resume = Hello::Resume {
            session,
            token: "tok_en-1".parse().unwrap(),
            attachment: 9,
            fence: 9,
            received: 0,
        };
        assert_eq!(resume.to_string(), format!("1.resume.{ID}.tok_en-1.9.9.0"));
        for hello in [new, resume] {
            assert_eq!(hello.to_string().parse(), Ok(hello));
        }
    }

    #[test]
    fn refuses_what_is_malformed() {
        for text in [
            "",
            "1",
            "1.",
            "1.new",
            &format!("1.new.{ID}.1"),
            &format!("1.new.{ID}.1.1.1"),
            &format!("1.new.{ID}.01.1"),
            &format!("1.new.{ID}.+1.1"),
            &format!("1.new.{ID}.0.0"),
            &format!("1.new.{ID}.1.2"),
            &format!("1.new.{ID}.1.9007199254740992"),
            &format!("1.new.{ID}A.1.1"),
            // The last character holds bits that no byte has.
            "1.new.AAECAwQFBgcICQoLDA0ODx.1.1",
            "1.new.AAECAwQFBgcICQoLDA0OD=.1.1",
            &format!("1.old.{ID}.1.1"),
            &format!("1.resume.{ID}..1.1.0"),
            &format!("1.resume.{ID}.t/k.1.1.0"),
            &format!("1.resume.{ID}.{}.1.1.0", "a".repeat(129)),
        ] {
            assert_eq!(
                text.parse::<Hello>(),
                Err(HelloError::Malformed),
                "{text:?}"
            );
        }
        assert_eq!("2.whatever".parse::<Hello>(), Err(HelloError::Version));
    }
}
