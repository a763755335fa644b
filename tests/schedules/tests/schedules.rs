//! Every scene under many orders of events, chosen at random; `SCHEDULES` sets how many, 2000 of each without it.
//!
//! A failure prints the schedule that `shuttle::replay` repeats.

use resnet_schedules::batcher::scenes::{clear, play};

fn schedules() -> usize {
    let wish = std::env::var("SCHEDULES");
    wish.map_or(2_000, |n| n.parse().expect("a number"))
}

const STAYING: &[(u64, bool)] = &[(1, false), (1, false), (2, false), (3, false)];
const SOME_LEAVE: &[(u64, bool)] = &[(1, false), (1, true), (2, true), (3, false)];

#[test]
fn every_image_is_answered_whatever_the_order() {
    shuttle::check_random(|| play(2, STAYING, false, 8), schedules());
}

#[test]
fn images_of_clients_that_leave_are_answered_or_dropped_once() {
    shuttle::check_random(|| play(2, SOME_LEAVE, false, 8), schedules());
}

#[test]
fn shutdown_at_any_moment_loses_no_place_and_no_worker() {
    shuttle::check_random(|| play(2, SOME_LEAVE, true, 8), schedules());
}

#[test]
fn full_queue_refuses_and_recovers() {
    shuttle::check_random(|| play(1, STAYING, false, 2), schedules());
}

#[test]
fn unlikely_orders_are_tried_too() {
    // Few changes of thread at the worst places: finds what needs one rare order.
    shuttle::check_pct(|| play(2, SOME_LEAVE, true, 3), schedules(), 3);
}

#[test]
fn queue_without_workers_is_cleared() {
    shuttle::check_random(clear, schedules());
}
