use crate::{Entropy, Token};

/// How many tokens are outstanding at most: more attachments than that are never under way.
const MAX_ISSUED: usize = 16;

/// The tokens of a session (`docs/protocol.md`, 3.6).
///
/// The client may have lost any `opened`, so that the token in use stays good until one that was
/// issued after it shows up: used by a resume, or its attachment selected.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    current: Option<Token>,
    /// Issued since `current` became current, each with its attachment.
    issued: Vec<(u64, Token)>,
}

impl Tokens {
    /// Makes the token that `opened` brings to an attachment.
    pub(super) fn issue(&mut self, attachment: u64, entropy: &mut dyn Entropy) -> Token {
        let token = Token::random(entropy);
        if self.issued.len() == MAX_ISSUED {
            self.issued.remove(0);
        }
        self.issued.push((attachment, token.clone()));
        token
    }

    /// Tells whether a token resumes the session, in a time that does not depend on which.
    pub(super) fn accept(&self, token: &Token) -> bool {
        let current = self.current.iter();
        let issued = self.issued.iter().map(|(_, token)| token);
        current
            .chain(issued)
            .fold(false, |found, known| found | (known == token))
    }

    /// A token was used by an attachment whose client has given up all attachments below `fence`.
    pub(super) fn used(&mut self, token: &Token, fence: u64) {
        if self.current.as_ref() == Some(token) {
            // Those issued since stay good: their `opened` may yet arrive, or have arrived and its
            // `select` been lost. But a client that had got one would not use the older one again
            // after it has given up the attachment.
            self.issued.retain(|(attachment, _)| *attachment >= fence);
        } else if let Some(index) = self.issued.iter().position(|(_, known)| known == token) {
            self.make_current(index);
        }
    }

    /// An attachment was selected.
    pub(super) fn selected(&mut self, attachment: u64) {
        if let Some(index) = self.issued.iter().position(|(a, _)| *a == attachment) {
            self.make_current(index);
        }
    }

    /// Tells whether any token was used or its attachment selected: the client has it.
    pub(super) fn is_confirmed(&self) -> bool {
        self.current.is_some()
    }

    fn make_current(&mut self, index: usize) {
        let (_, token) = self.issued.swap_remove(index);
        self.current = Some(token);
        // Most sessions need no other token for hours.
        self.issued = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u8);

    impl Entropy for Counter {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0 += 1;
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_session_that_was_selected_keeps_one_token() {
        let mut tokens = Tokens::default();
        let token = tokens.issue(1, &mut Counter(0));
        tokens.selected(1);
        assert!(tokens.accept(&token));
        assert_eq!(tokens.issued.capacity(), 0);
    }

    #[test]
    fn a_token_is_good_until_a_later_one_shows_up() {
        let mut entropy = Counter(0);
        let mut tokens = Tokens::default();
        let first = tokens.issue(1, &mut entropy);
        tokens.selected(1);
        // A race of two resumes with the same token; the `opened` of both may arrive.
        tokens.used(&first, 2);
        let second = tokens.issue(2, &mut entropy);
        tokens.used(&first, 2);
        let third = tokens.issue(3, &mut entropy);
        for token in [&first, &second, &third] {
            assert!(tokens.accept(token));
        }
        // The client decided for attachment 2, but `select` was lost.
        tokens.used(&second, 4);
        assert!(tokens.accept(&second));
        assert!(!tokens.accept(&first));
        assert!(!tokens.accept(&third));
    }

    #[test]
    fn selecting_makes_all_others_worthless() {
        let mut entropy = Counter(0);
        let mut tokens = Tokens::default();
        let first = tokens.issue(1, &mut entropy);
        let second = tokens.issue(2, &mut entropy);
        tokens.selected(1);
        tokens.selected(1);
        assert!(tokens.accept(&first));
        assert!(!tokens.accept(&second));
    }

    #[test]
    fn tokens_of_given_up_attachments_go_and_their_number_is_bounded() {
        let mut entropy = Counter(0);
        let mut tokens = Tokens::default();
        let first = tokens.issue(1, &mut entropy);
        tokens.selected(1);
        tokens.used(&first, 2);
        let lost = tokens.issue(2, &mut entropy);
        tokens.used(&first, 3);
        assert!(!tokens.accept(&lost));
        for attachment in 3..99 {
            tokens.issue(attachment, &mut entropy);
        }
        assert!(tokens.issued.len() <= MAX_ISSUED);
        assert!(tokens.accept(&first));
    }
}
