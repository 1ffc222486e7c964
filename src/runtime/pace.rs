//! Whether a program's steps gain from threads: found by trying.
//!
//! How long one thread waits for what another has written depends on where the system lets them run: 0.1 µs where they
//! share a cache, four times as much where they do not, and no end on a busy machine; all of that changes from second to
//! second. Now and then, some runs therefore take the other way, and the faster one is kept. What is computed does not
//! depend on it.

use std::time::Duration;

/// Who computes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crew {
    /// All threads of the pool, where that is expected to pay.
    Team,
    /// The calling thread.
    Alone,
}

impl Crew {
    fn other(self) -> Crew {
        match self {
            Crew::Team => Crew::Alone,
            Crew::Alone => Crew::Team,
        }
    }
}

/// How long a run of several steps may take.
const RUN: Duration = Duration::from_millis(1);

/// Runs of a trial, and runs that it is compared with: the fastest ones count.
const RUNS: usize = 3;

/// The time of steps between two trials, at first and at most; it doubles with each trial that changes nothing.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// At least so many times as long as the trial itself.
const WAIT_FOR_ONE: u32 = 50;

/// The other crew takes over if it needs less than this part of the time.
const FASTER: f64 = 0.95;

/// Steps that take so many times as long as they did after the last trial are a reason for another.
const SLOWER: f64 = 1.25;

/// What is known of the steps of one state.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    crew: Crew,
    /// Seconds a step of its last runs, the last one first.
    recent: [f64; RUNS],
    /// The least of them after the last trial.
    usual: f64,
    since_trial: Duration,
    wait: Duration,
    trial: Option<Trial>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    runs: usize,
    fastest: f64,
    time: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            crew: Crew::Team,
            recent: [f64::INFINITY; RUNS],
            usual: f64::INFINITY,
            since_trial: Duration::ZERO,
            wait: FIRST_WAIT,
            trial: None,
        }
    }
}

impl Pace {
    /// Who is to run next, and how many of the steps that are left.
    pub(super) fn next(&self, left: u64) -> (Crew, u64) {
        let crew = if self.trial.is_some() { self.crew.other() } else { self.crew };
        let steps = RUN.as_secs_f64() / self.fastest();
        (crew, (steps as u64).clamp(1, left.max(1)))
    }

    /// Takes note of what the run took that was asked for.
    pub(super) fn took(&mut self, steps: u64, time: Duration) {
        let step = time.as_secs_f64() / steps as f64;
        let Some(trial) = &mut self.trial else {
            self.recent.rotate_right(1);
            self.recent[0] = step;
            self.since_trial += time;
            let slowed = self.fastest() > SLOWER * self.usual;
            if slowed {
                self.wait = FIRST_WAIT;
            }
            if slowed || self.since_trial >= self.wait {
                self.trial = Some(Trial { fastest: f64::INFINITY, ..Trial::default() });
            }
            return;
        };
        trial.runs += 1;
        trial.fastest = trial.fastest.min(step);
        trial.time += time;
        if trial.runs == RUNS {
            let trial = *trial;
            self.decide(trial);
        }
    }

    fn decide(&mut self, trial: Trial) {
        if trial.fastest < FASTER * self.fastest() {
            self.crew = self.crew.other();
            self.recent = [trial.fastest; RUNS];
            self.wait = FIRST_WAIT;
        } else {
            self.wait = LONGEST_WAIT.min(2 * self.wait);
        }
        self.wait = self.wait.max(WAIT_FOR_ONE * trial.time);
        self.usual = self.fastest();
        (self.since_trial, self.trial) = (Duration::ZERO, None);
    }

    /// Seconds of the fastest recent step.
    fn fastest(&self) -> f64 {
        self.recent.into_iter().fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs steps that take so many microseconds with a team and alone; says how often each crew ran, and for how long.
    fn steps(pace: &mut Pace, [team, alone]: [f64; 2], count: usize) -> ([usize; 2], Duration) {
        let (mut runs, mut all) = ([0; 2], Duration::ZERO);
        for _ in 0..count {
            let (crew, steps) = pace.next(1);
            let at = usize::from(crew == Crew::Alone);
            let time = Duration::from_secs_f64([team, alone][at] * 1e-6);
            pace.took(steps, time);
            runs[at] += 1;
            all += time;
        }
        (runs, all)
    }

    #[test]
    fn the_faster_crew_runs_and_trials_are_rare() {
        for (micros, faster) in [([100.0, 160.0], 0), ([200.0, 160.0], 1), ([20_000.0, 35_000.0], 0)] {
            let mut pace = Pace::default();
            steps(&mut pace, micros, 1000);
            let (runs, time) = steps(&mut pace, micros, 100_000);
            assert!(runs[faster] > 97_000, "{micros:?}: {runs:?}");
            let ideal = Duration::from_secs_f64(micros[faster] * 1e-6 * 100_000.0);
            assert!(time < ideal.mul_f64(1.02), "{micros:?}: {time:?}");
        }
    }

    #[test]
    fn a_slower_machine_is_noticed_at_once_and_a_faster_one_soon() {
        let mut pace = Pace::default();
        steps(&mut pace, [600.0, 1000.0], 10_000);
        let (runs, _) = steps(&mut pace, [1200.0, 1000.0], 100);
        assert!(runs[1] > 85, "{runs:?}");
        steps(&mut pace, [1200.0, 1000.0], 10_000);
        let (runs, _) = steps(&mut pace, [600.0, 1000.0], 10_000);
        assert!(runs[0] > 8_000, "{runs:?}");
    }

    #[test]
    fn a_run_of_many_steps_takes_about_a_millisecond() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(1000), (Crew::Team, 1));
        pace.took(1, Duration::from_micros(100));
        assert_eq!(pace.next(1000), (Crew::Team, 10));
        assert_eq!(pace.next(3), (Crew::Team, 3));
    }
}
