mod applications;
mod faults;
mod network;
mod oracle;
mod pipe;
mod rng;
mod servers;
mod untold;
mod world;

use std::ops::AddAssign;

pub(crate) use world::{Stats, World};

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.conns += other.conns;
        self.resumed += other.resumed;
        self.anew += other.anew;
        self.told += other.told;
        self.confirmed += other.confirmed;
        self.published += other.published;
        self.untold += other.untold;
        self.at_once += other.at_once;
        self.tallied += other.tallied;
        self.moved += other.moved;
        self.unheard += other.unheard;
        self.closed += other.closed;
        self.gave_up += other.gave_up;
        self.idle += other.idle;
        self.steps += other.steps;
    }
}
