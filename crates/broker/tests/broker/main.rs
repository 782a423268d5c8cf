//! Tests with a real RabbitMQ. Each test has its own vhost; tests of faults use a proxy that breaks the connection at the
//! right moment.

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
