-- Which token a form has made: whoever has sent it twice, and has not seen what the first answer showed, has to find it.
ALTER TABLE token_forms ADD COLUMN token_id uuid;
