//! Who may attach, and which attachment carries the session.

use super::*;

#[test]
fn a_hand_over_pauses_nothing_and_says_where_it_goes_on() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.session.send("1".into()).unwrap();
    assert_eq!(bench.sends(1), ["1"]);
    let second = bench.attach(&format!("{} 2.1.1", first.token));
    assert_eq!(second.next, 2);
    // Until `select` everything goes on where it was, both ways.
    bench.session.send("2".into()).unwrap();
    bench.session.send("3".into()).unwrap();
    assert_eq!(bench.sends(2), [""; 0]);
    assert_eq!(bench.sends(1), ["2", "3"]);
    assert_eq!(bench.gets(1, "a"), Some("a".into()));
    bench.gets(1, "^ack 2");
    bench.events();
    bench.gets(2, "^select 2");
    assert_eq!(dropped(&bench.events()), [(1, 4000)]);
    // The client goes on where it was until it hears that.
    assert_eq!(bench.sends(2), ["^selected 1", "^seq 3", "3"]);
    // The client had sent two on the old one, and begins with the first that is not confirmed.
    assert_eq!(bench.gets(2, "a"), None);
    assert_eq!(bench.gets(2, "b"), Some("b".into()));
    // `opened` had promised 1; `seq` can say otherwise.
    bench.gets(2, "^seq 2");
    assert_eq!(bench.gets(2, "b"), None);
}

#[test]
fn a_message_sent_right_after_a_hand_over_says_its_number() {
    let mut bench = Bench::new(Config::new());
    let token = bench.attach("new 1.1").token;
    bench.gets(1, "^select 0");
    bench.attach(&format!("{token} 2.1.0"));
    bench.session.send("1".into()).unwrap();
    assert_eq!(bench.sends(1), ["1"]);
    bench.gets(1, "^ack 1");
    bench.gets(2, "^select 1");
    bench.events();
    bench.sends(2);
    let mut texts = Vec::new();
    let mut messages = std::iter::once(Message::from("2"));
    let now = bench.now;
    bench
        .session
        .transmit_from(now, 2, &mut messages, |message| {
            texts.push(message.as_text().unwrap().replace('\u{1}', "^"));
            true
        });
    assert_eq!(texts, ["^seq 2", "2"]);
}

#[test]
fn the_carrier_is_the_selected_one_while_it_lives_and_else_the_newest() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 2.1");
    assert_eq!(bench.session.carrier(), Some(2));
    bench.session.send("1".into()).unwrap();
    bench.session.send("2".into()).unwrap();
    assert_eq!(bench.sends(2), ["1", "2"]);
    bench.attach("new 3.1");
    assert_eq!(bench.session.carrier(), Some(3));
    assert_eq!(bench.sends(3), ["1", "2"]);
    bench.session.send("3".into()).unwrap();
    bench.attach("new 1.1");
    assert_eq!(bench.sends(3), ["3"]);
    // It has the first two already, if it lives.
    bench.session.detach(bench.now, 3, None);
    assert_eq!(bench.session.carrier(), Some(2));
    assert_eq!(bench.sends(2), ["3"]);
    bench.gets(1, "^select 0");
    assert_eq!(bench.session.carrier(), Some(1));
    assert_eq!(bench.sends(1), ["1", "2", "3"]);
}

#[test]
fn whoever_is_not_welcome_disturbs_nobody() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 2.2");
    bench.gets(2, "^select 0");
    let second = bench.attach(&format!("{} 5.2.0", first.token));
    bench.events();
    for (hello, refused) in [
        ("new 9.9".to_owned(), Refused::Unknown),
        ("guessed 9.9.0".to_owned(), Refused::Unknown),
        ("guessed 1.1.0".to_owned(), Refused::Unknown),
        (format!("{} 1.1.0", first.token), Refused::Superseded),
        (format!("{} 2.2.0", first.token), Refused::Superseded),
        (format!("{} 5.2.0", second.token), Refused::Superseded),
        (format!("{} 6.6.1", first.token), Refused::Invalid),
    ] {
        let hello = bench.hello(&hello);
        assert_eq!(bench.session.authorize(&hello), Err(refused), "{hello:?}");
        let result = bench.session.attach(bench.now, &hello, &mut bench.entropy);
        assert_eq!(result, Err(refused));
    }
    assert_eq!(bench.events(), []);
    assert_eq!(bench.session.live().collect::<Vec<_>>(), [2, 5]);
    // Selected: the token before it is worthless, and so are lower numbers.
    bench.gets(5, "^select 0");
    let old = bench.hello(&format!("{} 6.6.0", first.token));
    assert_eq!(bench.session.authorize(&old), Err(Refused::Unknown));
    let late = bench.hello(&format!("{} 4.1.0", second.token));
    assert_eq!(bench.session.authorize(&late), Err(Refused::Superseded));
    let next = bench.hello(&format!("{} 6.6.0", second.token));
    assert_eq!(bench.session.authorize(&next), Ok(()));
}

#[test]
fn a_fence_ends_what_the_client_has_given_up() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.events();
    bench.attach(&format!("{} 3.3.0", first.token));
    assert_eq!(dropped(&bench.events()), [(1, 4000)]);
    assert_eq!(bench.session.carrier(), Some(3));
    // What arrives late on the old one is nobody's.
    assert_eq!(bench.gets(1, "late"), None);
    assert_eq!(bench.gets(3, "new"), Some("new".into()));
}

#[test]
fn the_number_of_attachments_is_bounded() {
    let mut bench = Bench::new(Config::new().with_max_attachments(2));
    for hello in ["new 1.1", "new 2.1", "new 3.1"] {
        bench.attach(hello);
    }
    assert_eq!(dropped(&bench.events()), [(1, 1013)]);
    assert_eq!(bench.session.live().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn instead_of_a_session_that_is_not_known_a_new_one_begins() {
    let mut bench = Bench::new(Config::new());
    let hello: Hello = "1.resume.AQEBAQEBAQEBAQEBAQEBAQ.old.7.7.42"
        .parse()
        .unwrap();
    let id = *bench.session.id();
    bench.session = ServerSession::new_instead(bench.now, Config::new(), id, Why::Expired);
    assert_eq!(bench.session.authorize(&hello), Ok(()));
    let attached = bench.session.attach(bench.now, &hello, &mut bench.entropy);
    assert_eq!(attached, Ok(7));
    let sends = bench.sends(7);
    assert!(sends[0].contains("\"resumed\":false,\"why\":\"expired\",\"received\":0,\"next\":1"));
    // Only once.
    assert_eq!(bench.session.authorize(&hello), Err(Refused::Unknown));
}

/// There are many sessions, and most of them have one attachment and nothing to say.
#[test]
fn a_session_at_rest_keeps_no_room_to_spare() {
    let mut bench = Bench::new(Config::new());
    let first = bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.attach(&format!("{} 2.1.0", first.token));
    bench.gets(2, "^select 0");
    assert_eq!(dropped(&bench.events()), [(1, 4000)]);
    assert_eq!(bench.session.links.capacity(), 1);
    assert_eq!(bench.session.events.capacity(), 0);
}
