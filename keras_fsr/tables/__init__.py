"""The four papers' tables, trained again at one small budget and printed beside the papers' figures."""
