//! Teams of real threads: each task once, helpers where CPUs are idle, panics, and steps inside of steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn every_task_of_every_step_runs_once_whatever_the_threads() {
    for (cpus, threads) in [(1, 1), (2, 2), (3, 8), (8, 8)] {
        let team = Team::new(cpus);
        for _ in 0..50 {
            team.lead(threads, |lead| {
                for tasks in [0, 1, 2, 3, 17, 200] {
                    let counts: Vec<AtomicUsize> =
                        (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    lead.for_each(tasks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                }
            });
        }
    }
}

#[test]
fn first_step_of_a_session_runs_each_task_once() {
    let team = Team::new(3);
    for _ in 0..20_000 {
        let counts = [const { AtomicUsize::new(0) }; 3];
        team.lead(3, |lead| {
            lead.for_each(3, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn helpers_take_part_when_cpus_are_idle() {
    let team = Team::new(2);
    let names = Mutex::new(std::collections::HashSet::new());
    let both = std::sync::Barrier::new(2);
    team.lead(2, |lead| {
        // Ends only if two threads are in it at the same time.
        lead.for_each(2, &|_| {
            both.wait();
            names.lock().unwrap().insert(std::thread::current().id());
        });
    });
    assert_eq!(names.lock().unwrap().len(), 2);
}

#[test]
fn who_is_alone_gets_no_helpers_until_then() {
    let team = Team::new(3);
    team.alone(|| team.lead(3, |lead| assert_eq!(lead.threads(), 1)));
    let panic = catch_unwind(AssertUnwindSafe(|| team.alone(|| panic!("on purpose"))));
    assert!(panic.is_err());
    team.lead(3, |lead| assert_eq!(lead.threads(), 3));
}

#[test]
fn leaders_on_all_cpus_get_no_helpers() {
    let team = Team::new(2);
    let both = std::sync::Barrier::new(2);
    let lead_alone = || {
        both.wait();
        team.lead(1, |_| {
            both.wait(); // two lead now
            team.lead(2, |lead| assert!(lead.helpers.is_empty()));
            both.wait();
        });
    };
    std::thread::scope(|s| {
        s.spawn(lead_alone);
        s.spawn(lead_alone);
    });
    let free = team.lead(2, |lead| lead.helpers.len());
    assert_eq!(free, 1);
}

#[test]
fn many_leaders_share_the_helpers_without_losing_a_task() {
    let team = Team::new(4);
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                for _ in 0..300 {
                    let sum = AtomicUsize::new(0);
                    team.lead(4, |lead| {
                        for _ in 0..5 {
                            lead.for_each(20, &|i| {
                                sum.fetch_add(i, Ordering::Relaxed);
                            });
                        }
                    });
                    assert_eq!(sum.into_inner(), 5 * 190);
                }
            });
        }
    });
}

#[test]
fn panic_of_a_task_reaches_the_leader_and_the_team_lives_on() {
    let team = Team::new(3);
    let result = catch_unwind(AssertUnwindSafe(|| {
        team.lead(3, |lead| {
            lead.for_each(30, &|i| assert!(i != 7, "task seven"))
        });
    }));
    assert!(result.is_err());
    let sum = AtomicUsize::new(0);
    team.lead(3, |lead| {
        lead.for_each(4, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
    });
    assert_eq!(sum.into_inner(), 6);
}

#[test]
fn step_inside_of_a_task_runs_each_of_its_tasks_once() {
    let team = Team::new(3);
    for _ in 0..200 {
        let counts: Vec<AtomicUsize> = (0..12 * 5).map(|_| AtomicUsize::new(0)).collect();
        team.lead(3, |lead| {
            lead.for_each(12, &|outer| {
                lead.for_each(5, &|inner| {
                    counts[outer * 5 + inner].fetch_add(1, Ordering::Relaxed);
                });
            });
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn each_thread_begins_with_a_part_of_its_own() {
    let team = Team::new(2);
    let both = std::sync::Barrier::new(2);
    let of_thread = Mutex::new(std::collections::HashMap::new());
    team.lead(2, |lead| {
        // Whoever has a first task waits for the other's, so the two are different threads'.
        lead.for_each(10, &|task| {
            if task % 5 == 0 {
                both.wait();
                (of_thread.lock().unwrap()).insert(task, std::thread::current().id());
            }
        });
    });
    let of_thread = of_thread.into_inner().unwrap();
    assert_ne!(of_thread[&0], of_thread[&5]);
}
