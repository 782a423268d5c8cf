//! The crate against a real RabbitMQ: each test in a vhost of its own, and where something has to break, through
//! a proxy that breaks it at the right moment.

#[cfg(test)]
mod administering;
#[cfg(test)]
mod consuming;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hand_over;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod shutdown;
