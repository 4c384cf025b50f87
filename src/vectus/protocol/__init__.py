"""The protocol, pure: no await, no sockets, no files, no clock, no logging, no randomness.

A dialect turns a request's head into an intent, the rules judge the intent against the upload's
record, and the dialect turns the outcome into a reply.
"""
