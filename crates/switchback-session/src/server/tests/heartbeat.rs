use super::*;

/// A session whose client comes back after every end, with what each `opened` says.
struct Returning {
    bench: Bench,
    opened: Opened,
    number: u64,
}

impl Returning {
    fn new(config: Config) -> Self {
        let mut bench = Bench::new(config);
        let opened = bench.attach("new 1.1");
        bench.gets(1, "^select 0");
        Self {
            bench,
            opened,
            number: 1,
        }
    }

    fn comes_back(&mut self) {
        self.number += 1;
        let (token, number) = (&self.opened.token, self.number);
        self.opened = self.bench.attach(&format!("{token} {number}.{number}.0"));
        self.bench.gets(number, "^select 0");
        self.bench.sends(number);
    }

    /// It is cut after so many seconds without a frame, and both sides notice.
    fn is_cut_after(&mut self, seconds: u32) {
        self.bench.now += seconds * SECOND;
        self.bench.session.detach(self.bench.now, self.number, None);
        self.comes_back();
    }

    /// It is cut, and only the missing answer to the ping tells.
    fn is_forgotten(&mut self) {
        for wait in [self.opened.heartbeat, 10 * SECOND] {
            self.bench.wait(wait);
            self.bench.sends(self.number);
        }
        assert!(self.bench.session.is_parked());
        self.comes_back();
    }

    /// The ping after a silence is answered.
    fn answers(&mut self) {
        self.bench.wait(self.opened.heartbeat);
        assert_eq!(self.bench.sends(self.number), ["^ping"]);
        self.bench.gets(self.number, "^pong");
    }

    /// Returns what the client was told last of heartbeat and timeout, in milliseconds.
    fn told(&self) -> (u128, u128) {
        let opened = &self.opened;
        (opened.heartbeat.as_millis(), opened.timeout.as_millis())
    }
}

#[test]
fn the_heartbeat_pings_and_drops_whoever_does_not_answer() {
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.events();
    let step = |bench: &mut Bench| {
        let at = bench.session.deadline().unwrap();
        bench.wait(at - bench.now);
        bench.sends(1)
    };
    // The first deadline is for `select`.
    assert_eq!(step(&mut bench), [""; 0]);
    assert_eq!(step(&mut bench), ["^ping"]);
    bench.gets(1, "^pong");
    // The deadline stands for the answer; looked at again it moves to the next ping.
    assert_eq!(step(&mut bench), [""; 0]);
    assert_eq!(step(&mut bench), ["^ping"]);
    step(&mut bench);
    let events = bench.events();
    assert_eq!(dropped(&events), [(1, 4002)]);
    assert_eq!(events.last(), Some(&ServerEvent::Parked));
    bench.wait(Config::new().park());
    assert_eq!(closed(&bench.events()), Some((4002, ClosedBy::Expired)));
}

#[test]
fn two_deaths_of_silence_halve_the_interval_down_to_a_bound() {
    let mut client = Returning::new(Config::new());
    client.is_cut_after(20);
    assert_eq!(client.told(), (25_000, 35_000));
    client.is_forgotten();
    assert_eq!(client.told(), (12_500, 22_500));
    // The server pings as it has promised.
    client.answers();
    client.is_cut_after(11);
    client.is_cut_after(11);
    assert_eq!(client.told(), (10_000, 20_000));
    client.is_forgotten();
    client.is_forgotten();
    assert_eq!(client.told(), (10_000, 20_000));
}

#[test]
fn a_client_that_comes_back_unexpectedly_has_lost_its_attachment() {
    let mut client = Returning::new(Config::new());
    for _ in 0..2 {
        client.bench.now += 20 * SECOND;
        client.comes_back();
    }
    assert_eq!(client.told(), (12_500, 22_500));
}

#[test]
fn busy_and_closed_attachments_prove_nothing() {
    let mut client = Returning::new(Config::new());
    for _ in 0..3 {
        client.is_cut_after(9);
    }
    for _ in 0..3 {
        client.bench.now += 20 * SECOND;
        let going_away = CloseReason::from(CloseCode::GOING_AWAY);
        let (now, number) = (client.bench.now, client.number);
        client.bench.session.detach(now, number, Some(going_away));
        client.comes_back();
    }
    for _ in 0..3 {
        // Nothing came for long, but the server sent: the silence was not the network's.
        for _ in 0..4 {
            client.bench.now += 5 * SECOND;
            client.bench.session.send("news".into()).unwrap();
            client.bench.sends(client.number);
        }
        client.is_cut_after(1);
    }
    assert_eq!(client.told(), (25_000, 35_000));
}

#[test]
fn silences_that_were_survived_count_against_it() {
    let mut client = Returning::new(Config::new());
    for _ in 0..3 {
        client.is_cut_after(20);
        for _ in 0..4 {
            client.answers();
        }
    }
    assert_eq!(client.told(), (25_000, 35_000));
    // One alone may be chance, and shorter ones prove nothing.
    client.is_cut_after(20);
    client.answers();
    for _ in 0..9 {
        client.bench.now += 15 * SECOND;
        client.bench.gets(client.number, "^pong");
    }
    client.is_cut_after(20);
    assert_eq!(client.told(), (12_500, 22_500));
}

#[test]
fn after_an_hour_it_tries_longer_intervals_again() {
    let mut client = Returning::new(Config::new());
    for _ in 0..4 {
        client.is_forgotten();
    }
    assert_eq!(client.told(), (10_000, 20_000));
    for told in [(20_000, 30_000), (25_000, 35_000), (25_000, 35_000)] {
        for _ in 0..400 {
            client.answers();
        }
        client.is_cut_after(1);
        assert_eq!(client.told(), told);
    }
}

#[test]
fn it_can_be_told_not_to_adapt() {
    let config = Config::new().with_min_heartbeat(Duration::MAX);
    let short = Config::new().with_heartbeat(5 * SECOND);
    for (config, heartbeat) in [(config, 25_000), (short, 5_000)] {
        let mut client = Returning::new(config);
        for _ in 0..4 {
            client.is_forgotten();
            client.is_cut_after(20);
        }
        assert_eq!(client.told().0, heartbeat);
    }
}

#[test]
fn a_client_that_does_not_select_is_asked_soon_whether_anything_comes() {
    // (heartbeat, seconds until the ping)
    for (heartbeat, expected) in [(25, 5), (3, 3)] {
        let config = Config::new().with_heartbeat(heartbeat * SECOND);
        let mut bench = Bench::new(config.clone());
        bench.attach("new 1.1");
        bench.wait((expected - 1) * SECOND);
        assert_eq!(bench.sends(1), [""; 0]);
        bench.wait(SECOND);
        assert_eq!(bench.sends(1), ["^ping"]);
        bench.wait(config.pong_timeout());
        assert_eq!(dropped(&bench.events()), [(1, 4002)]);

        // One that is merely slow, and one that nobody reads.
        let mut bench = Bench::new(config.clone());
        bench.attach("new 1.1");
        bench.wait(expected * SECOND);
        bench.sends(1);
        bench.gets(1, "^select 0");
        bench.wait(config.pong_timeout().min((heartbeat - 1) * SECOND));
        assert_eq!(dropped(&bench.events()), []);
        let mut bench = Bench::new(config.clone());
        bench.attach("new 1.1");
        for _ in 0..9 {
            bench.session.excuse(bench.now);
            bench.wait(5 * SECOND);
        }
        assert_eq!(dropped(&bench.events()), []);
    }
    // Once it has, the heartbeat is as ever.
    let mut bench = Bench::new(Config::new());
    bench.attach("new 1.1");
    bench.gets(1, "^select 0");
    bench.wait(24 * SECOND);
    assert_eq!(bench.sends(1), [""; 0]);
    bench.wait(SECOND);
    assert_eq!(bench.sends(1), ["^ping"]);
}
