//! A wake-up that is lost leaves the application or the janitor waiting for ever: loom calls that a
//! deadlock. The janitor stops when everything was driven, whoever drove it.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::Shared;
use crate::janitor::Janitor;

/// The application's task.
#[derive(Default)]
struct Task {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Task {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = self.changed.wait(woken).unwrap();
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

struct Application {
    connection: Arc<Shared>,
    task: Arc<Task>,
    waker: Waker,
}

impl Application {
    /// Polls once, for whatever reason.
    fn poll(&self) -> Poll<()> {
        self.connection.poll_event(&self.waker)
    }

    /// Waits for a message.
    fn recv(&self) {
        while self.poll().is_pending() {
            self.task.wait();
        }
    }
}

/// What a thread does beside the application's task.
type Work = fn(&Shared);

/// Runs the application beside the janitor and other threads, in every interleaving with so many
/// preemptions at most. `expected`: how many messages these threads receive, and how many they send.
fn check(
    preemptions: usize,
    expected: (usize, usize),
    threads: &[Work],
    application: fn(&Application),
) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    let threads = threads.to_vec();
    builder.check(move || {
        let janitor = Arc::new(Janitor::default());
        let connection = Shared::new(&janitor, expected);
        connection.plug();
        let mut handles: Vec<_> = threads
            .iter()
            .copied()
            .map(|work| {
                let connection = connection.clone();
                thread::spawn(move || work(&connection))
            })
            .collect();
        handles.push(thread::spawn(move || janitor.run()));
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let holder = Application {
            connection,
            task,
            waker,
        };
        // Not dropped before all is driven: that would be a connection that is closed.
        application(&holder);
        for handle in handles {
            handle.join().unwrap();
        }
    });
}

fn receive_twice(connection: &Shared) {
    connection.receive();
    connection.receive();
}

#[test]
fn an_application_that_waits_gets_every_message() {
    check(3, (2, 0), &[receive_twice], |application| {
        application.recv();
        application.recv();
    });
}

#[test]
fn a_message_that_is_queued_is_driven_while_the_application_waits_for_another() {
    check(
        2,
        (1, 1),
        &[Shared::receive, Shared::send],
        Application::recv,
    );
}

#[test]
fn what_an_application_leaves_that_is_busy_is_driven() {
    check(3, (2, 0), &[receive_twice], Application::recv);
    check(
        2,
        (2, 0),
        &[Shared::receive, Shared::receive],
        Application::recv,
    );
}

#[test]
fn what_comes_when_an_application_gives_up_waiting_is_driven() {
    check(3, (2, 0), &[receive_twice], |application| {
        // The second time for another reason than a wake-up, as a task that waits for two things.
        if application.poll().is_pending() && application.poll().is_pending() {
            application.connection.stop_waiting();
        }
    });
}

#[test]
fn an_application_that_gave_up_waiting_can_wait_again() {
    check(2, (1, 0), &[Shared::receive], |application| {
        if application.poll().is_pending() {
            application.connection.stop_waiting();
            application.recv();
        }
    });
}

#[test]
fn what_comes_while_nobody_waits_is_driven() {
    check(2, (1, 1), &[Shared::receive, Shared::send], |_| {});
}
